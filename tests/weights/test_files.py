"""Tensors read one after the other into the same memory."""

import numpy as np
import paddle
import pytest

from ldm.weights.files import TensorFile, write_tensors

SHAPES = {"large": (40, 30), "single": (1,), "scalar": (), "deep": (3, 4, 2, 2), "empty": (0, 5)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_each_is_what_is_read_alone(tmp_path, dtype):
    rng = np.random.default_rng(0)
    entries = [
        (key, dtype, shape, lambda shape=shape: paddle.to_tensor(rng.standard_normal(shape)))
        for key, shape in SHAPES.items()
    ]
    write_tensors(tmp_path / "file.safetensors", entries, {})
    with TensorFile(tmp_path / "file.safetensors") as file:
        for keys in (list(SHAPES), list(SHAPES)[::-1], ["scalar"], []):
            read = 0
            for key, tensor in zip(keys, file.read_each(keys)):
                assert tensor.dtype == paddle.float32 and tuple(tensor.shape) == SHAPES[key]
                np.testing.assert_array_equal(tensor.numpy(), file.read(key).astype("float32").numpy())
                read += 1
            assert read == len(keys)


def test_a_file_cut_off_is_named(tmp_path):
    path = tmp_path / "file.safetensors"
    entries = [(key, "float32", (2**16,), lambda: np.ones(2**16, np.float32)) for key in ("a", "b")]
    write_tensors(path, entries, {})
    with TensorFile(path) as file:
        path.write_bytes(path.read_bytes()[:-8])  # while it is open: the header was whole
        with pytest.raises(ValueError, match="file.safetensors ends within b"):
            for _ in file.read_each(["a", "b"]):
                pass
