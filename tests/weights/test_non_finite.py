"""Which tensor of a file is non-finite."""

import numpy as np
import paddle
import pytest

from ldm.weights.blame import non_finite_tensor
from ldm.weights.files import BLOCK, write_tensors

LONG = 2 * BLOCK + 7  # three pieces


def written(path, values, dtype):
    """A file with three tensors, of which `values` is the second."""
    parts = {"first": np.ones((3, 4), "float32"), "second": values, "counter": np.zeros((), "int64")}
    dtypes = {"first": "float32", "second": dtype, "counter": "int64"}
    write_tensors(path, [(k, dtypes[k], v.shape, lambda v=v: v) for k, v in parts.items()], {})
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, BLOCK, LONG - 1])
def test_the_guilty_tensor_is_named_wherever_the_value_is(tmp_path, dtype, bad, place):
    path = written(tmp_path / "w.safetensors", np.zeros(LONG, "float32"), dtype)
    assert non_finite_tensor(path) is None
    itemsize = 4 if dtype == "float32" else 8 if dtype == "float64" else 2
    if dtype == "bfloat16":
        bits = paddle.to_tensor([bad]).astype("bfloat16").numpy().tobytes()
    else:
        bits = np.asarray([bad], dtype).tobytes()
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    where = 8 + length + 12 * 4 + place * itemsize
    data[where : where + itemsize] = bits
    path.write_bytes(data)
    assert non_finite_tensor(path) == "second"


def test_the_largest_numbers_are_finite(tmp_path):
    largest = np.full(5, np.finfo("float32").max, "float32")
    assert non_finite_tensor(written(tmp_path / "w.safetensors", largest, "float32")) is None
    bits = np.frombuffer(np.uint32(0x7F7F0000).tobytes() * 5, "float32")  # the largest bfloat16
    assert non_finite_tensor(written(tmp_path / "b.safetensors", bits, "bfloat16")) is None


def test_scalars_and_empty_tensors(tmp_path):
    assert non_finite_tensor(written(tmp_path / "s.safetensors", np.float32(1).reshape(()), "float32")) is None
    assert non_finite_tensor(written(tmp_path / "e.safetensors", np.zeros((0, 4), "float32"), "float32")) is None
