"""No file is written with NaN, infinity, or values that its dtype cannot hold; what was there before stays."""

import errno

import numpy as np
import paddle
import pytest
from checkpoints import CONFIGS, edit, unfilled, write_official

from ldm.weights.convert import convert_file, save_weights, write_state
from ldm.weights.files import TensorFile, write_tensors
from ldm.weights.release import load_network

KEY = "blocks.3.weight"


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "out" / "target.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"the good one")
    return path


def untouched(target):
    return target.read_bytes() == b"the good one" and [path.name for path in target.parent.iterdir()] == [target.name]


def entry(values, dtype):
    return [("fine", "float32", (1,), lambda: np.ones(1, "f4")), ("w", dtype, tuple(values.shape), lambda: values)]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["numpy", "paddle", "scalar"])
def test_non_finite_values_are_named_and_not_written(target, dtype, bad, kind):
    values = np.zeros((3, 100_000) if kind != "scalar" else (), "f4")
    values[(-1, -1) if kind != "scalar" else ()] = bad
    values = paddle.to_tensor(values) if kind == "paddle" else values
    with pytest.raises(ValueError, match="target.safetensors is not written: w holds NaN or infinity") as error:
        write_tensors(target, entry(values, dtype), {})
    assert untouched(target) and "\n" not in str(error.value)
    write_tensors(target, entry(values, dtype), {}, allow_non_finite=True)  # evidence
    with TensorFile(target) as file:
        assert not np.isfinite(file.read_numpy("w")).all()


@pytest.mark.parametrize("value, dtype", [(70000.0, "float16"), (-1e30, "float16"), (3.4e38, "bfloat16")])
@pytest.mark.parametrize("kind", ["numpy", "paddle"])
def test_values_that_a_dtype_cannot_hold(target, value, dtype, kind):
    values = np.array([1.0, value], "f4")
    values = paddle.to_tensor(values) if kind == "paddle" else values
    with pytest.raises(ValueError, match=f"w reaches .*, and {dtype} ends at .*Choose a dtype that holds it"):
        write_tensors(target, entry(values, dtype), {})
    assert untouched(target)
    write_tensors(target, entry(values, "float32"), {})


def test_tiny_values_are_zeros_in_half_precision(target):
    """Paddle's own way makes numbers up to 1e-4 of some of them."""
    values = paddle.to_tensor(2.0 ** np.arange(-126, 0, dtype="f4"))
    write_tensors(target, entry(values, "float16"), {})
    with TensorFile(target) as file:
        np.testing.assert_array_equal(file.read_numpy("w"), values.numpy().astype("f2"))


def test_the_largest_values_and_integers_are_written(target):
    write_tensors(target, entry(np.array([65504.0, -65504.0], "f4"), "float16"), {})
    write_tensors(target, entry(np.array([3.38e38], "f4"), "bfloat16"), {})
    write_tensors(target, entry(np.array([2**62]), "int64"), {})
    write_tensors(target, entry(np.zeros((0, 4), "f4"), "float32"), {})


@pytest.mark.parametrize("to_release", [False, True])
def test_conversion_names_the_tensor(tmp_path, target, to_release):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")
    edit(path, lambda tensors: tensors[KEY].__setitem__((0, 0, 0, 0), np.nan))
    with pytest.raises(ValueError, match=f"target.safetensors is not written: {KEY} holds NaN"):
        convert_file(path, target, unfilled("previewer"), "previewer", to_release=to_release)
    edit(path, lambda tensors: tensors[KEY].__setitem__((0, 0, 0, 0), 1e6))
    with pytest.raises(ValueError, match=f"{KEY} reaches 1e\\+06, and float16 ends at 65504"):
        convert_file(path, target, unfilled("previewer"), "previewer", "float16", to_release=to_release)
    assert untouched(target)
    convert_file(path, target, unfilled("previewer"), "previewer", "bfloat16", to_release=to_release)


def test_saving_a_network_or_its_state(tmp_path, target):
    network = load_network(write_official(tmp_path / "previewer.safetensors", "previewer"), "previewer")
    state = network.state_dict()
    state[KEY].set_value(state[KEY] * float("nan"))
    for attempt in (
        lambda: save_weights(network, target, "previewer", config=CONFIGS["previewer"]),
        lambda: write_state(state, target, "previewer", "bfloat16", CONFIGS["previewer"], to_release=True),
    ):
        with pytest.raises(ValueError, match=f"{KEY} holds NaN"):
            attempt()
        assert untouched(target)


def test_a_full_disk_names_the_file_and_the_remedy(target):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left on device: .*target.safetensors takes .* GB; make room") as error:
        write_tensors(target, [("a", "float32", (1,), full)], {})
    assert untouched(target) and "\n" not in str(error.value)
