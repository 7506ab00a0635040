"""Which network and version a file holds, told from its header; and what a release folder answers."""

import functools

import paddle
import pytest
from checkpoints import CONFIGS, edit, unfilled, write_header, write_official

from ldm.networks.variants import VARIANTS, variant_config
from ldm.weights.convert import convert_file
from ldm.weights.detect import detect_network, detect_version, stored_config
from ldm.weights.files import TensorFile
from ldm.weights.plan import network_shapes, release_shapes
from ldm.weights.release import FILES, Release, build_unfilled, check_device_dtype, load_network, network_config

OFFICIAL_SIZES = [(kind, version) for kind, (_, table) in VARIANTS.items() for version in table]


@functools.lru_cache
def full_size_shapes(kind, version, layout):
    network = build_unfilled(kind, variant_config(kind, version))
    return network_shapes(network) if layout == "paddle" else release_shapes(network, kind)


def full_size_header(path, kind, version, layout):
    """A full-size checkpoint of either layout that occupies no disk space."""
    notes = {"layout": "paddle"} if layout == "paddle" else {}
    return write_header(path, full_size_shapes(kind, version, layout), notes)


@pytest.mark.parametrize("layout", ["official", "paddle"])
@pytest.mark.parametrize("kind, version", OFFICIAL_SIZES)
def test_official_sizes_are_told_from_shapes(tmp_path, kind, version, layout):
    path = full_size_header(tmp_path / "x.safetensors", kind, version, layout)
    with TensorFile(path) as file:
        assert detect_network(file) == kind and detect_version(file, kind) == version
    assert network_config(path, kind) == network_config(path, kind, version) == variant_config(kind, version)
    other = next(name for name in VARIANTS[kind][1] if name != version)
    with pytest.raises(ValueError, match=f"is the {version} {kind}, but {other} was asked for"):
        network_config(path, kind, other)
    with pytest.raises(ValueError, match="'7B'"):
        network_config(path, kind, "7B")


@pytest.mark.parametrize("layout", ["official", "paddle"])
@pytest.mark.parametrize("kind", CONFIGS)
def test_small_networks_say_what_they_are(tmp_path, kind, layout):
    path = write_official(tmp_path / "official.safetensors", kind)
    if layout == "paddle":
        convert_file(path, tmp_path / "ours.safetensors", unfilled(kind), kind)
        path = tmp_path / "ours.safetensors"
    with TensorFile(path) as file:
        assert detect_network(file) == kind and stored_config(file) == CONFIGS[kind]
    assert load_network(path, kind).training is False
    other = next(name for name in CONFIGS if name != kind)
    with pytest.raises(ValueError, match=f"holds {kind}, not {other}"):
        network_config(path, other)


def test_a_size_that_was_never_released(tmp_path):
    path = write_header(tmp_path / "x.safetensors", {"clip_txt_mapper.weight": (64, 64)})
    with pytest.raises(ValueError, match="no released size.*'config'"):
        network_config(path, "stage_c", "1B")


@pytest.mark.parametrize("config", ["{", "[1]"])
def test_damaged_config(tmp_path, config):
    path = write_header(tmp_path / "x.safetensors", {"clip_txt_mapper.weight": (64, 64)}, {"config": config})
    with pytest.raises(ValueError, match="x.safetensors.*'config'"):
        network_config(path, "stage_c")


def test_foreign_file(tmp_path):
    path = write_header(tmp_path / "x.safetensors", {"model.layers.0.weight": (2, 2)})
    with pytest.raises(ValueError, match="none of the cascade's networks.*model.layers.0.weight"):
        network_config(path, "stage_c")
    with TensorFile(path) as file, pytest.raises(ValueError, match="not a stage_b checkpoint.*channelwise"):
        detect_version(file, "stage_b")


# ---- the folder


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent does not exist.*WEIGHTS_PATH"):
        Release(tmp_path / "absent")


def test_missing_file_names_what_was_looked_for_and_found(tmp_path):
    write_official(tmp_path / "previewer.safetensors", "previewer")
    with pytest.raises(FileNotFoundError) as error:
        Release(tmp_path).file("stage_c", "1B")
    for part in ("stage_c_lite.safetensors", "stage_c_lite_bf16.safetensors", "version 1B", "previewer.safetensors"):
        assert part in str(error.value)
    with pytest.raises(FileNotFoundError, match="previewer.safetensors.*no safetensors file"):
        (tmp_path / "previewer.safetensors").unlink()
        Release(tmp_path).file("previewer")


@pytest.mark.parametrize("kind", VARIANTS)
def test_unknown_version(tmp_path, kind):
    with pytest.raises(ValueError, match=f"Unknown {kind} version '13B'"):
        Release(tmp_path).file(kind, "13B")


def test_the_more_precise_file_wins(tmp_path):
    for suffix in ("_bf16", ""):
        path = write_official(tmp_path / f"stage_c{suffix}.safetensors", "stage_c")
        assert Release(tmp_path).file("stage_c", "3.6B") == path


def test_wrong_version_under_the_right_name(tmp_path):
    full_size_header(tmp_path / "stage_c.safetensors", "stage_c", "1B", "official")
    with pytest.raises(ValueError, match="is the 1B stage_c, but 3.6B was asked for"):
        Release(tmp_path).load("stage_c", "3.6B")


def test_wrong_network_under_the_right_name(tmp_path):
    write_official(tmp_path / "stage_a.safetensors", "previewer")
    with pytest.raises(ValueError, match="stage_a.safetensors holds previewer, not stage_a"):
        Release(tmp_path).load("stage_a")


def test_damaged_file_in_a_release(tmp_path):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")
    edit(path, lambda tensors: tensors.pop("blocks.0.bias"))
    with pytest.raises(ValueError, match="previewer.safetensors.*1 missing: blocks.0.bias"):
        Release(tmp_path).load("previewer")


def test_half_precision_needs_a_gpu(tmp_path):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")
    with pytest.raises(ValueError, match="float16 needs a GPU"):
        load_network(path, "previewer", dtype="float16")


def test_bfloat16_on_a_gpu_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda: False)
    with pytest.raises(ValueError, match="cannot compute in bfloat16"):
        check_device_dtype("bfloat16")
    check_device_dtype("float16")


def test_a_whole_rule_release_loads(rule_release):
    release = Release(rule_release)
    for kind, version in (
        ("stage_c", "1B"),
        ("stage_b", "700M"),
        ("stage_a", None),
        ("effnet", None),
        ("previewer", None),
    ):
        network = release.load(kind, version)
        assert not network.training and release.file(kind, version).stem == FILES[kind, version]
