"""Worker: Stage A's decoder, full size, filled by rule: latents -> images.

python benchmarks/ours_stage_a.py INPUTS plain [CACHE]
"""

import sys

from cases import read_inputs
from filled import filled_network, start_paddle
from worker import DTYPE, serve

inputs_path, *_ = sys.argv[1:]
side = start_paddle()
import paddle  # noqa: E402

network = filled_network("stage_a")
latent = read_inputs(inputs_path)["latent"].astype(DTYPE)


@paddle.no_grad()
def decode():
    return network.decode(latent)


serve(decode, lambda image: image.astype("float32").numpy(), side)
