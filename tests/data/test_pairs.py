"""Image-text folders: pairing by stem, and every way they can be wrong."""

import pytest
from PIL import Image

from ldm.data.pairs import find_pairs


def add(folder, name, caption="a caption", suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    if suffix:
        Image.new("RGB", (40, 30), "red").save(folder / f"{name}{suffix}")
    if caption is not None:
        (folder / f"{name}.txt").write_text(caption, encoding="utf-8")


def test_pairs_by_stem_through_nested_folders(tmp_path):
    add(tmp_path, "b", "second")
    add(tmp_path / "deep" / "er", "a", "third", ".jpg")
    add(tmp_path, "a.b", "first", ".webp")
    pairs = find_pairs(tmp_path)
    assert {pair.read_caption() for pair in pairs} == {"first", "second", "third"}
    assert all(pair.image.with_suffix("") == pair.caption.with_suffix("") for pair in pairs)
    assert find_pairs(tmp_path) == pairs


def test_every_orphan_is_named_at_once(tmp_path):
    add(tmp_path, "good")
    add(tmp_path, "no_caption", None)
    add(tmp_path, "no_image", "words", None)
    add(tmp_path, "twice", suffix=".png")
    add(tmp_path, "twice", suffix=".jpg")
    with pytest.raises(ValueError) as error:
        find_pairs(tmp_path)
    for name in ("no_caption.png", "no_image.txt", "twice.png"):
        assert name in str(error.value)
    assert "good" not in str(error.value)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*--dataset_path"):
        find_pairs(tmp_path / "nowhere")
    (tmp_path / "readme.md").write_text("not a dataset")
    with pytest.raises(ValueError, match="has no images"):
        find_pairs(tmp_path)


def test_captions_are_one_line_of_utf8(tmp_path):
    add(tmp_path, "a", "  two\n lines  \n")
    assert find_pairs(tmp_path)[0].read_caption() == "two lines"
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="a.txt is not UTF-8"):
        find_pairs(tmp_path)[0].read_caption()
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(ValueError, match="a.txt is empty"):
        find_pairs(tmp_path)[0].read_caption()
