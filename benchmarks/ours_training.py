"""Worker: a training step of this project's prior on the network's level: forward, backward, AdamW.

python benchmarks/ours_training.py VERSION INPUTS plain|O1|O2 [CACHE]

Gives the first step's loss and some of its gradients, to be compared. O1, O2: mixed precision, on a GPU.
"""

import sys

from cases import WATCHED, read_inputs
from filled import filled_network, start_paddle
from worker import DTYPE, serve

version, inputs_path, way, *_ = sys.argv[1:]
side = start_paddle()
import paddle  # noqa: E402

network = filled_network("stage_c", version, "float32")
inputs = read_inputs(inputs_path)
x, r, target = (inputs.pop(name) for name in ("x", "r", "target"))
for parameter in network.parameters():
    parameter.stop_gradient = False
optimizer = paddle.optimizer.AdamW(
    1e-4, parameters=network.parameters(), weight_decay=0.01, multi_precision=way == "O2"
)
mixed = way in ("O1", "O2")
if way == "O2":
    network, optimizer = paddle.amp.decorate(network, optimizer, level=way, dtype=DTYPE)
scaler = paddle.amp.GradScaler(mixed and DTYPE == "float16", init_loss_scaling=1024.0)
parameters = dict(network.named_parameters())


def step():
    with paddle.amp.auto_cast(mixed, level=way if mixed else "O1", dtype=DTYPE if mixed else "float16"):
        prediction = network(x, r, **inputs)
    loss = paddle.nn.functional.mse_loss(prediction.astype("float32"), target)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    watched = {
        "loss": loss.detach().clone(),
        **{key: parameters[key].grad.astype("float32").clone() for key in WATCHED},
    }
    scaler.step(optimizer)
    scaler.update()
    optimizer.clear_grad(set_to_zero=False)
    return watched


serve(
    step,
    lambda watched: {key: value.numpy() for key, value in watched.items()},
    side,
    way,
)
