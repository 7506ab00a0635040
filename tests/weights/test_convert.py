"""Conversion there and back, and loading either layout."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import paddle
import pytest
from checkpoints import CONFIGS, edit, metadata, unfilled, write_official
from safetensors import safe_open
from safetensors.numpy import load_file

from ldm.weights.convert import convert_file, copy_clip_folders, save_weights
from ldm.weights.files import TensorFile
from ldm.weights.loading import load_weights
from ldm.weights.plan import network_shapes
from ldm.weights.release import network_config


def convert(source, target, kind, **options):
    convert_file(source, target, unfilled(kind), kind, **options)
    return target


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param


@pytest.fixture
def official(tmp_path, kind):
    return write_official(tmp_path / "official.safetensors", kind)


QUICK = pytest.mark.parametrize(
    "kind", [kind for kind in CONFIGS if kind != "effnet"], indirect=True
)  # the one that cannot be small


def test_round_trip_is_exact(official, kind, tmp_path):
    ours = convert(official, tmp_path / "ours.safetensors", kind)
    back = load_file(convert(ours, tmp_path / "back.safetensors", kind, to_release=True))
    original = load_file(official)
    assert back.keys() == original.keys()
    for key, tensor in original.items():
        assert back[key].dtype == tensor.dtype and back[key].shape == tensor.shape, key
        assert back[key].tobytes() == tensor.tobytes(), key
    counters = [key for key in original if key.endswith("num_batches_tracked")]
    assert bool(counters) == (kind in ("stage_a", "previewer", "effnet"))


def test_converted_file_is_our_state_dict(official, kind, tmp_path):
    ours = convert(official, tmp_path / "ours.safetensors", kind)
    expected = network_shapes(unfilled(kind))
    with safe_open(ours, "np") as file:  # the library itself reads what we write
        assert {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()} == expected
    assert metadata(ours)["layout"] == "paddle" and metadata(ours)["network"] == kind
    assert network_config(ours, kind) == CONFIGS[kind]


def test_matrices_are_transposed_and_nothing_else(tmp_path):
    official = write_official(tmp_path / "official.safetensors", "stage_c")
    theirs, ours = load_file(official), load_file(convert(official, tmp_path / "ours.safetensors", "stage_c"))
    for key, value in theirs.items():
        convolution = ".depthwise." in key
        expected = value if value.ndim < 2 or convolution or value.shape[0] == 1 else value.reshape(value.shape[:2]).T
        np.testing.assert_array_equal(ours[key], expected, err_msg=key)


def test_both_layouts_load_alike(official, kind, tmp_path):
    ours = convert(official, tmp_path / "ours.safetensors", kind)
    one, other = (load_weights(unfilled(kind), path, kind).state_dict() for path in (official, ours))
    for key, tensor in one.items():
        np.testing.assert_array_equal(tensor.numpy(), other[key].numpy(), err_msg=key)


@QUICK
@pytest.mark.parametrize("to_release", [False, True])
def test_saving_a_network(official, kind, tmp_path, to_release):
    network = load_weights(unfilled(kind), official, kind)
    saved = tmp_path / "saved.safetensors"
    save_weights(network, saved, kind, config=CONFIGS[kind], to_release=to_release)
    expected = load_file(official if to_release else convert(official, tmp_path / "ours.safetensors", kind))
    written = load_file(saved)
    assert written.keys() == expected.keys()
    assert all(written[key].tobytes() == expected[key].tobytes() for key in expected)
    assert json.loads(metadata(saved)["config"]) == CONFIGS[kind]


@QUICK
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("to_release", [False, True])
def test_dtype(official, kind, tmp_path, dtype, to_release):
    target = convert(official, tmp_path / "half.safetensors", kind, dtype=dtype, to_release=to_release)
    full = convert(official, tmp_path / "full.safetensors", kind, to_release=to_release)
    rounding = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[dtype]
    with TensorFile(target) as half, TensorFile(full) as exact:
        for key in exact.keys():
            counter = key.endswith("num_batches_tracked")
            assert half.dtypes[key] == ("I64" if counter else {"float16": "F16", "bfloat16": "BF16"}[dtype])
            expected = exact.read_numpy(key).astype(rounding).astype("float32")
            np.testing.assert_array_equal(half.read_numpy(key).astype("float32"), expected, err_msg=key)


def test_statistics_are_loaded_as_float32_whatever_the_rest_is(tmp_path):
    official = write_official(tmp_path / "official.safetensors", "previewer")
    network = load_weights(unfilled("previewer"), official, "previewer", "bfloat16")
    dtypes = {key: tensor.dtype for key, tensor in network.state_dict().items()}
    assert all(
        dtype == (paddle.float32 if key.endswith(("_mean", "_variance")) else paddle.bfloat16)
        for key, dtype in dtypes.items()
    )


def test_bfloat16_file_keeps_its_dtype_unless_told(tmp_path):
    official = write_official(tmp_path / "official.safetensors", "stage_c")
    half = convert(official, tmp_path / "half.safetensors", "stage_c", dtype="bfloat16", to_release=True)
    kept = convert(half, tmp_path / "kept.safetensors", "stage_c")
    wide = convert(half, tmp_path / "wide.safetensors", "stage_c", dtype="float32")
    with TensorFile(kept) as file:
        assert set(file.dtypes.values()) == {"BF16"}
    with TensorFile(wide) as file:
        assert set(file.dtypes.values()) == {"F32"}


@QUICK
def test_unknown_dtype(official, kind, tmp_path):
    with pytest.raises(ValueError, match="'int8'.*float32, float16, bfloat16"):
        convert(official, tmp_path / "x.safetensors", kind, dtype="int8")
    with pytest.raises(ValueError, match="'int8'"):
        load_weights(unfilled(kind), official, kind, "int8")
    assert not (tmp_path / "x.safetensors").exists()


@QUICK
def test_wrapped_checkpoint(official, kind, tmp_path):
    plain = load_file(convert(official, tmp_path / "plain.safetensors", kind))
    edit(official, lambda tensors: None, rename=lambda key: f"state_dict.{key}")
    wrapped = load_file(convert(official, tmp_path / "wrapped.safetensors", kind))
    assert wrapped.keys() == plain.keys() and all(np.array_equal(wrapped[key], plain[key]) for key in plain)


def test_loaded_weights_are_copies_and_not_views_of_the_file(tmp_path):
    official = write_official(tmp_path / "official.safetensors", "previewer")
    before = official.read_bytes()
    network = load_weights(unfilled("previewer"), official, "previewer")
    with TensorFile(official) as file:
        read = {key: file.read(key) for key in file.keys()}
    values = [network.blocks[0].weight.numpy().copy(), read["blocks.0.weight"].numpy().copy()]
    with paddle.no_grad():
        network.blocks[3].weight.add_(paddle.ones_like(network.blocks[3].weight))
    assert official.read_bytes() == before
    with open(official, "r+b") as out:  # in place, under a mapping that may still exist
        out.seek(-len(before) // 2, 2)
        out.write(bytes(len(before) // 2))
        out.seek(8 + int.from_bytes(before[:8], "little"))
        out.write(bytes(len(before) // 2))
    np.testing.assert_array_equal(network.blocks[0].weight.numpy(), values[0])
    np.testing.assert_array_equal(read["blocks.0.weight"].numpy(), values[1])


def test_progress_sees_every_tensor_once(tmp_path):
    official, seen = write_official(tmp_path / "official.safetensors", "stage_a"), []

    def progress(entries):
        for entry in entries:
            seen.append(entry[0])
            yield entry

    written = load_file(convert(official, tmp_path / "ours.safetensors", "stage_a", progress=progress))
    assert sorted(seen) == sorted(written)


def test_towers_are_copied_whole_or_not_at_all(rule_release, tmp_path, monkeypatch):
    def cut_off(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("ldm.weights.convert.shutil.copyfile", cut_off)
    with pytest.raises(KeyboardInterrupt):
        copy_clip_folders(rule_release, tmp_path / "out")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert copy_clip_folders(rule_release, tmp_path / "out")
    for path in (rule_release / "image_encoder").iterdir():
        assert (tmp_path / "out" / "image_encoder" / path.name).read_bytes() == path.read_bytes()
