"""What every test shares: programs that are this clone's, the `slow` marker, a rule-filled release."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What tests start imports this clone, too, whichever one the environment has installed
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):  # they share the cores
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(processes))))

from ldm.common.runtime import prepare, use_exact_matrix_products  # noqa: E402

use_exact_matrix_products()
prepare()

import paddle  # noqa: E402

paddle.set_device("cpu")  # with a GPU build too: tests/test_gpu.py says what else is to be seen there


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="also run tests that need minutes or many gigabytes")


LONG = (
    "test_demo_finetuning",
    "fuzz/test_fuzz",
    "test_faults",
    "test_lora_training",
    "test_main_job",
    "test_two_ranks",
)


def pytest_collection_modifyitems(config, items):
    # What takes a minute begins first: two processes share the files, and end together
    items.sort(key=lambda item: next((i for i, name in enumerate(LONG) if f"{name}.py" in item.nodeid), len(LONG)))
    if config.getoption("--run-slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: give --run-slow to run it"))


@pytest.fixture(autouse=True)
def seeded():
    """The same random weights and inputs in every run, whichever tests are selected."""
    import paddle

    paddle.seed(0)


@pytest.fixture(scope="session")
def rule_release(tmp_path_factory):
    """The folder of a small release with rule-filled weights. Shared: read it, never write into it."""
    from ldm.demo.rule_release import write_rule_release

    folder = tmp_path_factory.mktemp("rule_release")
    write_rule_release(folder)
    return folder
