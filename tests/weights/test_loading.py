"""Reading tensors into a network's own memory, several at a time."""

import json
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from checkpoints import unfilled, write_official
from helpers import run_python

from ldm.demo.rule_release import write_rule_network
from ldm.weights import loading
from ldm.weights.loading import load_weights, memory_of
from ldm.weights.release import load_network, network_config, numbers_in, output_size


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


def opens(path, work) -> int:
    """How often `work()` opens a file."""
    found, watching = [], [True]
    sys.addaudithook(lambda event, arguments: watching and event == "open" and found.append(str(arguments[0])))
    work()
    watching.clear()
    return found.count(str(path))


def test_a_network_is_judged_and_loaded_by_one_opening(tmp_path):
    path = write_official(tmp_path / "official.safetensors", "stage_c")

    def work():
        assert network_config(path, "stage_c") and numbers_in([path]) > 0 and output_size(path) == 1024
        load_network(path, "stage_c")
        assert numbers_in([path]) > 0

    assert opens(path, work) == 1
    assert opens(path, lambda: load_network(path, "stage_c")) == 1  # its data are read anew


def test_another_file_in_its_place_is_opened_anew(tmp_path):
    path = write_official(tmp_path / "official.safetensors", "stage_c")
    before = numbers_in([path])
    write_official(tmp_path / "other.safetensors", "stage_b").replace(path)
    assert numbers_in([path]) != before
    path.unlink()
    with pytest.raises(FileNotFoundError, match="official.safetensors does not exist"):
        numbers_in([path])


def test_what_is_in_use_is_not_closed_by_another_who_loads_it(tmp_path):
    path = write_official(tmp_path / "official.safetensors", "stage_c")
    with loading.opened(path, loading=True) as file:
        with loading.opened(path, loading=True) as other:
            assert other is not file
        key = next(iter(file.keys()))
        assert list(file.read(key).shape) == list(file.shapes[key])


def test_files_are_not_kept_open_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "MOST_OPEN", 2)
    monkeypatch.setattr(loading, "_opened", {})
    for name in "abc":
        numbers_in([write_official(tmp_path / name, "stage_c")])
    assert [Path(place).name for place in loading._opened] == ["b", "c"]
