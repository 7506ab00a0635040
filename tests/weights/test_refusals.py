"""Files that do not fit: everything wrong is said at once, and nothing half-written is left behind."""

import numpy as np
import pytest
from checkpoints import edit, unfilled, write_official
from safetensors.numpy import load_file, save_file

from ldm.common.atomic import atomic_path
from ldm.weights.convert import convert_file, save_weights
from ldm.weights.files import TensorFile, write_tensors
from ldm.weights.loading import load_weights
from ldm.weights.plan import WeightsMismatch, release_key_of
from ldm.weights.rules import RULES


@pytest.fixture(params=["official", "ours"])
def stage_c(request, tmp_path):
    """A Stage C checkpoint in either layout."""
    path = write_official(tmp_path / "official.safetensors", "stage_c")
    if request.param == "ours":
        convert_file(path, tmp_path / "ours.safetensors", unfilled("stage_c"), "stage_c")
        path = tmp_path / "ours.safetensors"
    return path


def test_all_problems_in_one_error(stage_c, tmp_path):
    def spoil(tensors):
        del tensors["clf.1.bias"], tensors["down_blocks.0.0.depthwise.weight"]
        tensors["down_blocks.0.0.depthwise_typo.weight"] = np.zeros(3, np.float32)
        tensors["embedding.1.bias"] = np.zeros(7, np.float32)
        tensors["clip_txt_mapper.weight"] = np.zeros((5, 6), np.float32)

    edit(stage_c, spoil)
    for attempt in (
        lambda: load_weights(unfilled("stage_c"), stage_c, "stage_c"),
        lambda: convert_file(stage_c, tmp_path / "target.safetensors", unfilled("stage_c"), "stage_c"),
    ):
        with pytest.raises(WeightsMismatch) as error:
            attempt()
        message = str(error.value)
        for part in (
            str(stage_c),
            "2 missing: ",
            "clf.1.bias",
            "down_blocks.0.0.depthwise.weight",
            "1 unexpected: down_blocks.0.0.depthwise_typo.weight",
            "2 misshapen: ",
            "embedding.1.bias (7,), expected (16,)",
            "clip_txt_mapper.weight (5, 6), expected ",
        ):
            assert part in message
    assert not (tmp_path / "target.safetensors").exists()


def test_a_square_matrix_of_the_wrong_rank_is_misshapen(tmp_path):
    path = write_official(tmp_path / "official.safetensors", "stage_c")
    edit(path, lambda tensors: tensors.update({"embedding.1.weight": np.zeros((16, 16), np.float32)}))
    with pytest.raises(WeightsMismatch, match=r"embedding.1.weight \(16, 16\), expected \(16, 16, 1, 1\)"):
        load_weights(unfilled("stage_c"), path, "stage_c")


def test_long_lists_are_cut_but_counted(tmp_path):
    path = write_official(tmp_path / "official.safetensors", "stage_c")
    edit(path, lambda tensors: [tensors.pop(key) for key in list(tensors) if key.startswith("down_blocks.1.")])
    with pytest.raises(WeightsMismatch, match=r"\d\d missing: .* and \d\d more"):
        load_weights(unfilled("stage_c"), path, "stage_c")


def test_another_networks_file(tmp_path):
    path = write_official(tmp_path / "previewer.safetensors", "previewer")
    with pytest.raises(WeightsMismatch, match="missing.*unexpected.*right network"):
        load_weights(unfilled("stage_a"), path, "stage_a")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file, perhaps a pickle of torch", b"\xff" * 64])
def test_not_safetensors(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model.safetensors is not a complete safetensors file"):
        TensorFile(path)


@pytest.mark.parametrize("kept", [4, 100, 5000, -1])
def test_truncated(tmp_path, kept):
    path = write_official(tmp_path / "official.safetensors", "previewer")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="not a complete safetensors file.*again"):
        load_weights(unfilled("previewer"), path, "previewer")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.safetensors does not exist"):
        load_weights(unfilled("previewer"), tmp_path / "absent.safetensors", "previewer")


def test_foreign_safetensors(tmp_path):
    path = tmp_path / "llm.safetensors"
    save_file({"model.layers.0.mlp.weight": np.zeros((2, 2), np.float32)}, path)
    with pytest.raises(WeightsMismatch, match="1 unexpected: model.layers.0.mlp.weight"):
        load_weights(unfilled("stage_c"), path, "stage_c")


def test_tensors_of_an_unknown_type(tmp_path):
    path = write_official(tmp_path / "official.safetensors", "previewer")
    edit(path, lambda tensors: tensors.update({"blocks.0.bias": np.zeros(16, np.uint8)}))
    with pytest.raises(WeightsMismatch, match="U8"):
        convert_file(path, tmp_path / "target.safetensors", unfilled("previewer"), "previewer")


def test_source_and_target_must_differ(stage_c):
    before = stage_c.read_bytes()
    for target in (stage_c, stage_c.parent / "." / stage_c.name):
        with pytest.raises(ValueError, match="same file"):
            convert_file(stage_c, target, unfilled("stage_c"), "stage_c")
    link = stage_c.with_name("link.safetensors")
    link.symlink_to(stage_c)
    with pytest.raises(ValueError, match="same file"):
        convert_file(stage_c, link, unfilled("stage_c"), "stage_c")
    assert stage_c.read_bytes() == before


@pytest.mark.parametrize("existing", [True, False])
def test_a_failed_write_leaves_everything_as_it_was(tmp_path, existing):
    source, target = (
        write_official(tmp_path / "official.safetensors", "stage_c"),
        tmp_path / "out" / "target.safetensors",
    )
    target.parent.mkdir()
    if existing:
        target.write_bytes(b"the old one")

    def interrupted(entries):
        for index, entry in enumerate(entries):
            if index == 5:
                raise KeyboardInterrupt
            yield entry

    with pytest.raises(KeyboardInterrupt):
        convert_file(source, target, unfilled("stage_c"), "stage_c", progress=interrupted)
    assert [path.name for path in target.parent.iterdir()] == (["target.safetensors"] if existing else [])
    assert not existing or target.read_bytes() == b"the old one"


def test_a_successful_write_replaces_and_is_readable_by_others(tmp_path):
    target = tmp_path / "target.safetensors"
    target.write_bytes(b"the old one")
    write_tensors(target, [("a", "float32", (2,), lambda: np.ones(2, np.float32))], {"number": 3})
    assert load_file(target)["a"].tolist() == [1, 1] and target.stat().st_mode & 0o444 == 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["target.safetensors"]
    with TensorFile(target) as file:
        assert file.metadata == {"number": "3"}


def test_a_tensor_of_another_shape_than_announced(tmp_path):
    with pytest.raises(ValueError, match=r"a: announced \(2,\), got \(3,\)"):
        write_tensors(tmp_path / "x.safetensors", [("a", "float32", (2,), lambda: np.ones(3))], {})
    assert list(tmp_path.iterdir()) == []


def test_atomic_path_makes_folders(tmp_path):
    with atomic_path(tmp_path / "a" / "b" / "file") as temporary:
        temporary.write_text("x")
        assert not (tmp_path / "a" / "b" / "file").exists()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["file"]


@pytest.mark.parametrize("key", ["down_blocks.0.0.unknown.weight", "", "clf.1.weight.extra", "unet.clf.1.weight"])
def test_a_key_that_is_not_ours(key):
    with pytest.raises(WeightsMismatch, match="not a key of this network"):
        release_key_of(RULES["stage_c"], key)


def test_unknown_keys_of_a_network_cannot_be_saved(tmp_path):
    network = unfilled("previewer")
    network.extra = unfilled("previewer").blocks[0]
    with pytest.raises(WeightsMismatch, match="extra.weight"):
        save_weights(network, tmp_path / "x.safetensors", "previewer", to_release=True)
    assert list(tmp_path.iterdir()) == []
