"""Image-text folders: pairing by stem, and every way they can be wrong."""

import json
import pickle

import pytest
from PIL import Image

from ldm.data.sources.opening import open_source
from ldm.data.sources.pairs import PairFolder
from ldm.data.sources.source import Names


def add(folder, name, caption="a caption", suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    if suffix:
        Image.new("RGB", (40, 30), "red").save(folder / f"{name}{suffix}")
    if caption is not None:
        (folder / f"{name}.txt").write_text(caption, encoding="utf-8")


def captions(pairs) -> dict:
    return {pairs.name(index): pairs.caption(index) for index in range(len(pairs))}


def test_pairs_by_stem_through_nested_folders(tmp_path):
    add(tmp_path, "b", "second")
    add(tmp_path / "deep" / "er", "a", "third", ".jpg")
    add(tmp_path, "a.b", "first", ".webp")
    add(tmp_path, "a", "zeroth", ".JPEG")
    pairs = PairFolder(tmp_path)
    assert captions(pairs) == {"a.JPEG": "zeroth", "a.b.webp": "first", "b.png": "second", "deep/er/a.jpg": "third"}
    for index in range(len(pairs)):
        assert pairs.read(index) == (tmp_path / pairs.name(index)).read_bytes()
        assert pairs.stamp(index)[0] == (tmp_path / pairs.name(index)).stat().st_size


def test_the_order_is_that_of_sorted_paths(tmp_path):
    """Folders come before files that sort after their name's end: `a/b` before `a-b`, though "-" is before "/"."""
    for name in ("a-b", "a", "b", "ä", "Z"):
        add(tmp_path / name, "x")
        add(tmp_path, f"{name}.q")
    expected = sorted(path for path in tmp_path.rglob("*.png"))
    pairs = PairFolder(tmp_path)
    assert [pairs.path(index) for index in range(len(pairs))] == expected


def test_a_filter_names_the_metadata_that_it_fails_on(tmp_path):
    add(tmp_path, "a")
    (tmp_path / "a.json").write_text('{"width": "wide"}')
    for text in ("height > 1", "width > 1"):
        with pytest.raises(ValueError, match=rf"{tmp_path}/a.png.*{tmp_path}/a.json\.$"):
            open_source(tmp_path, data_filter=text)


def test_hidden_files_and_folders_are_left_out(tmp_path):
    add(tmp_path, "a")
    add(tmp_path / ".ipynb_checkpoints", "a-checkpoint")
    add(tmp_path, ".b", caption=None)
    assert list(captions(PairFolder(tmp_path))) == ["a.png"]


def test_upper_case_caption_suffixes(tmp_path):
    add(tmp_path, "a", None)
    add(tmp_path, "b", "lower")
    (tmp_path / "a.TXT").write_text("upper")
    assert captions(PairFolder(tmp_path)) == {"a.png": "upper", "b.png": "lower"}


def test_every_orphan_is_named_at_once(tmp_path):
    add(tmp_path, "good")
    add(tmp_path, "no_caption", None)
    add(tmp_path, "no_image", "words", None)
    add(tmp_path, "twice", suffix=".png")
    add(tmp_path, "twice", suffix=".jpg")
    add(tmp_path / "deep", "nothing", "")
    with pytest.raises(ValueError) as error:
        PairFolder(tmp_path)
    for name in ("no_caption.png", "no_image.txt", "twice.png", "deep/nothing.txt"):
        assert name in str(error.value)
    assert "good" not in str(error.value)


def test_a_caption_in_another_folder_is_none(tmp_path):
    add(tmp_path / "images", "a", None)
    add(tmp_path / "captions", "a", "words", None)
    with pytest.raises(ValueError, match="captions/a.txt.*images/a.png"):
        PairFolder(tmp_path)


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*--dataset_path"):
        open_source(tmp_path / "nowhere")
    (tmp_path / "readme.md").write_text("not a dataset")
    with pytest.raises(ValueError, match="has no images"):
        open_source(tmp_path)


def test_captions_are_one_line_of_utf8(tmp_path):
    add(tmp_path, "a", "  two\n lines  \n")
    pairs = PairFolder(tmp_path)
    assert pairs.caption(0) == "two lines"
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="a.txt is not UTF-8"):
        pairs.caption(0)
    (tmp_path / "a.txt").write_text(" \n")
    with pytest.raises(ValueError, match="a.txt is empty"):
        pairs.caption(0)


def test_metadata_beside_the_image(tmp_path):
    add(tmp_path, "a")
    add(tmp_path, "b")
    (tmp_path / "a.json").write_text(json.dumps({"width": 40}))
    (tmp_path / "b.json").write_text("[1]")
    pairs = open_source(tmp_path)
    assert pairs.metadata(0) == {"width": 40}
    with pytest.raises(ValueError, match="b.json holds a list where an object .* belongs: correct or remove it"):
        pairs.metadata(1)
    (tmp_path / "b.json").unlink()
    with pytest.raises(ValueError, match="b.json does not exist"):
        pairs.metadata(1)


def test_names_are_stored_as_letters():
    names = Names([b"a", "ü/b".encode(), b""])
    names.extend(Names([b"last"]))
    assert list(names) == ["a", "ü/b", "", "last"]
    assert list(pickle.loads(pickle.dumps(names))) == list(names)
    assert list(Names.from_arrays(**names.arrays())) == list(names)
    with pytest.raises(IndexError):
        names[4]
