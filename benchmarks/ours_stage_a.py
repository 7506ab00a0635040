"""Worker: Stage A's decoder, full size, filled by rule: latents -> images.

python benchmarks/ours_stage_a.py INPUTS plain [CACHE]
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
inputs_path, *_ = sys.argv[1:]
real_stdout, sys.stdout = sys.stdout, sys.stderr  # whatever imports print must not reach the protocol

from ldm.runtime import prepare  # noqa: E402

prepare()
import paddle  # noqa: E402
from filled import filled_network  # noqa: E402
from worker import serve  # noqa: E402

from ldm.weights.files import TensorFile  # noqa: E402

network = filled_network("stage_a")
with TensorFile(inputs_path) as file:
    latent = file.read("latent")


@paddle.no_grad()
def decode():
    return network.decode(latent)


sys.stdout = real_stdout
serve(decode, lambda image: image.numpy(), name=f"ours, paddle {paddle.__version__}")
