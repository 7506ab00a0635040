"""Tensors read into memory that is there already."""

import os

import numpy as np
import paddle
import pytest

from ldm.weights import files
from ldm.weights.files import TensorFile, write_tensors

SHAPES = {"large": (700, 30), "single": (1,), "scalar": (), "deep": (3, 4, 2, 2), "empty": (0, 5), "vector": (3000,)}


@pytest.mark.parametrize("block, rows", [(files.BLOCK, files.ROWS), (64, 3)])  # whole, and in many uneven parts
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_into_memory_is_what_is_read_alone(tmp_path, monkeypatch, dtype, transposed, block, rows):
    monkeypatch.setattr(files, "BLOCK", block)
    monkeypatch.setattr(files, "ROWS", rows)
    rng = np.random.default_rng(0)
    entries = [
        (key, dtype, shape, lambda shape=shape: paddle.to_tensor(rng.standard_normal(shape)))
        for key, shape in SHAPES.items()
    ]
    write_tensors(tmp_path / "file.safetensors", entries, {})
    with TensorFile(tmp_path / "file.safetensors") as file:
        for key, shape in SHAPES.items():
            memory = np.full(shape[::-1] if transposed else shape, np.nan, np.float32)
            file.read_into(key, memory.T if transposed else memory)
            expected = file.read(key).astype("float32").numpy()
            np.testing.assert_array_equal(memory.T if transposed else memory, expected)


def test_a_file_cut_off_is_named(tmp_path):
    path = tmp_path / "file.safetensors"
    entries = [(key, "float32", (2**17,), lambda: np.ones(2**17, np.float32)) for key in ("a", "b")]
    write_tensors(path, entries, {})
    memory = np.empty(2**17, np.float32)
    with TensorFile(path) as file:
        path.write_bytes(path.read_bytes()[:-8])  # while it is open: the header was whole
        file.read_into("a", memory)
        for read in (lambda: file.read_into("b", memory), lambda: file.read("b")):
            with pytest.raises(ValueError, match="file.safetensors ends within b"):
                read()


def test_a_system_that_gives_a_little_at_a_time(tmp_path, monkeypatch):
    path, values = tmp_path / "file.safetensors", np.arange(5000, dtype=np.float32).reshape(50, 100)
    write_tensors(path, [("a", "float32", values.shape, lambda: values)], {})
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, where: whole(file, [buffers[0][:777]], where))
    memory = np.empty((100, 50), np.float32)
    with TensorFile(path) as file:
        file.read_into("a", memory.T)
        np.testing.assert_array_equal(memory.T, values)
        np.testing.assert_array_equal(file.read_numpy("a"), values)
