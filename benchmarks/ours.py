"""Worker: a guided prior step of this project (batch 2: conditional and unconditional), rule-filled weights."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
version, inputs_path = sys.argv[1:]
real_stdout, sys.stdout = sys.stdout, sys.stderr  # whatever imports print must not reach the protocol

from ldm.runtime import prepare  # noqa: E402

prepare()
import paddle  # noqa: E402
from worker import serve  # noqa: E402

from ldm.networks.variants import variant_config  # noqa: E402
from ldm.release import build_unfilled  # noqa: E402
from ldm.weights.convert import fill  # noqa: E402
from ldm.weights.files import TensorFile  # noqa: E402
from ldm.weights.plan import release_key_of  # noqa: E402
from ldm.weights.rule import rule_tensor  # noqa: E402
from ldm.weights.rules import RULES  # noqa: E402

network = build_unfilled("stage_c", variant_config("stage_c", version))
for key, parameter in network.state_dict().items():
    release_key, rule = release_key_of(RULES["stage_c"], key)
    value = rule_tensor(release_key, rule.layout.shape_to_release(parameter.shape))
    fill(parameter, rule.layout.to_paddle(value), "float32")
network.eval()
with TensorFile(inputs_path) as file:
    inputs = {key: file.read(key) for key in file.keys()}


@paddle.no_grad()
def step():
    return network(**inputs)


sys.stdout = real_stdout
serve(step, lambda output: output.numpy(), name=f"ours, paddle {paddle.__version__}")
