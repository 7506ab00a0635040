"""Worker: a training step of this project's prior on the network's level: forward, backward, AdamW.

python benchmarks/ours_training.py VERSION INPUTS plain [CACHE]

Gives the first step's loss and some of its gradients, to be compared.
"""

import sys

from cases import WATCHED, read_inputs
from filled import filled_network, start_paddle
from worker import serve

version, inputs_path, *_ = sys.argv[1:]
name = start_paddle()
import paddle  # noqa: E402

network = filled_network("stage_c", version)
inputs = read_inputs(inputs_path)
x, r, target = (inputs.pop(name) for name in ("x", "r", "target"))
for parameter in network.parameters():
    parameter.stop_gradient = False
optimizer = paddle.optimizer.AdamW(1e-4, parameters=network.parameters(), weight_decay=0.01)
parameters = dict(network.named_parameters())


def step():
    loss = paddle.nn.functional.mse_loss(network(x, r, **inputs), target)
    loss.backward()
    watched = {"loss": loss.detach().clone(), **{key: parameters[key].grad.clone() for key in WATCHED}}
    optimizer.step()
    optimizer.clear_grad(set_to_zero=False)
    return watched


serve(
    step,
    lambda watched: {key: value.numpy() for key, value in watched.items()},
    name=name,
)
