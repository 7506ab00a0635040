"""Worker: a guided step of this project's prior or decoder, plain, with its conditions prepared, or compiled.

python benchmarks/ours_step.py stage_c|stage_b VERSION INPUTS plain|prepared|compiled [CACHE]
"""

import sys

from cases import read_inputs
from filled import filled_network, start_paddle
from worker import serve

kind, version, inputs_path, way, *cache = sys.argv[1:]
side = start_paddle()
import paddle  # noqa: E402

from ldm.compiled.unet import CompiledUNet  # noqa: E402

network = filled_network(kind, version)
inputs = read_inputs(inputs_path)
x, r = inputs.pop("x"), inputs.pop("r")
with paddle.no_grad():
    if way == "plain":

        def bound(x, r):
            return network(x, r, **inputs)

    elif way == "prepared":
        bound = network.bound(x.shape[2:], **inputs)
    else:
        compiled = CompiledUNet(network, cache[0], keep_weights=False)
        bound = compiled.bound(x.shape[2:], **inputs)


@paddle.no_grad()
def step():
    return bound(x, r)


serve(step, lambda output: output.astype("float32").numpy(), side, way)
