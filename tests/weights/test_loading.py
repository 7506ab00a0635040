"""Reading tensors into a network's own memory, several at a time."""

import json

import numpy as np
import paddle
import pytest
from checkpoints import unfilled, write_official
from helpers import run_python

from ldm.demo.rule_release import write_rule_network
from ldm.weights import loading
from ldm.weights.loading import load_weights, memory_of


def test_memory_of_a_tensor():
    tensor = paddle.zeros([3, 5])
    memory = memory_of(tensor)
    memory[1, 2] = 7
    assert memory.shape == (3, 5) and tensor[1, 2].item() == 7 and tensor.sum().item() == 7


@pytest.mark.parametrize("ahead", [0, 1, 1000])
def test_the_number_under_way_changes_nothing(tmp_path, monkeypatch, ahead):
    path = write_official(tmp_path / "official.safetensors", "stage_c")
    expected = load_weights(unfilled("stage_c"), path, "stage_c").state_dict()
    monkeypatch.setattr(loading, "AHEAD", ahead)
    found = load_weights(unfilled("stage_c"), path, "stage_c").state_dict()
    for key, tensor in expected.items():
        np.testing.assert_array_equal(found[key].numpy(), tensor.numpy(), err_msg=key)


CODE = """
import json, sys
from ldm.common.runtime import prepare
prepare()
from ldm.common.memory import peak_memory, resident_memory
from ldm.weights.release import load_network

load_network(sys.argv[1], "stage_c")  # loads every library
before = resident_memory()
network = load_network(sys.argv[2], "stage_c")
weights = sum(parameter.size * 4 for parameter in network.parameters())
print(json.dumps([(peak_memory() - before) / 2**20, weights / 2**20]))
"""


def test_half_precision_needs_no_second_copy(tmp_path):
    small = dict(c_cond=32, c_hidden=[32, 32], nhead=[2, 2], blocks=[[1, 1], [1, 1]])
    config = dict(c_cond=768, c_hidden=[768, 768], nhead=[12, 12], blocks=[[1, 5], [5, 1]])
    paths = [tmp_path / f"{name}.safetensors" for name in ("small", "large")]
    for path, options in zip(paths, (small, config)):
        write_rule_network(path, "stage_c", options, dtype="bfloat16")
    peak, weights = json.loads(run_python(CODE, *paths))
    print(f"weights {weights:.0f} MiB, {peak:.0f} MiB more memory")
    assert weights > 400 and peak < 1.05 * weights
