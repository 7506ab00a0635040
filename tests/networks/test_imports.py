"""The networks need Paddle and numpy, nothing else."""

from helpers import run_python

HEAVY = {"paddlenlp", "ppdiffusers", "PIL", "cv2", "torch", "safetensors", "transformers", "webdataset", "visualdl"}
CODE = """
import sys
import paddle
for name in list(sys.modules):  # Paddle itself loads some of them: forget those, so that another import shows
    if name.split(".")[0] in sys.argv[1:]:
        del sys.modules[name]
before = set(sys.modules)
import pkgutil, importlib, ldm.networks
names = [module.name for module in pkgutil.walk_packages(ldm.networks.__path__, "ldm.networks.")]
assert len(names) > 10
for name in names:
    importlib.import_module(name)
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def test_networks_import_nothing_heavy():
    added = set(run_python(CODE, *HEAVY).split())
    assert "ldm" in added
    assert added & HEAVY == set()
    # By name: what Paddle itself loads does not count, and what is left is ours and the standard library's
    assert {name for name in added if not name.startswith("_")} <= {
        "ldm",
        "pkgutil",
        "importlib",
        "math",
        "dataclasses",
        "functools",
    }
