"""Folders and captions that somebody else wrote: right or refused in one line, never for ever."""

import json
import os
import subprocess

import pytest
from hostile import ROW, jsonl, read_all, refused

from ldm.data.sources.opening import open_source
from ldm.data.sources.source import Captions
from ldm.data.texts import LONGEST_CAPTION, one_line


@pytest.fixture
def folder(two_images):
    return two_images


def pair(folder, caption: bytes = b"words", name="a"):
    (folder / f"{name}.txt").write_bytes(caption)
    (folder / "b.png").unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize(
    "caption, message",
    [
        (b"x" * 10_000_000, f"a.txt has more than {LONGEST_CAPTION} bytes: shorten"),
        (b"one\0two", "a.txt has a NUL character"),
        ("words".encode("utf-16"), "a.txt is not UTF-8 text but UTF-16"),
        (b"w\xf6rter", "a.txt is not UTF-8 text .*save it as UTF-8"),
        (b"\xef\xbb\xbf", "a.txt is empty"),
        (b"\xc2\xa0\n", "a.txt is empty"),
        (b"\xed\xa0\x80", "a.txt is not UTF-8"),
    ],
)
def test_texts_that_are_no_captions(folder, caption, message):
    refused(pair(folder, caption), message, lambda source: source.caption(0))


def test_a_byte_order_mark_is_no_part_of_a_caption(folder):
    assert open_source(pair(folder, b"\xef\xbb\xbfwords")).caption(0) == "words"


def test_half_a_character_in_json_is_refused():
    with pytest.raises(ValueError, match="row 3 has half a character"):
        one_line(json.loads('"a \\ud800 b"'), "row 3")
    assert one_line("a \U0001f600 b", "x") == "a \U0001f600 b"


@pytest.mark.parametrize("name", ["a.png", "a.txt"])
@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: os.symlink("nowhere", path), lambda path: os.symlink(path, path),
     lambda path: os.symlink("/dev/zero", path), lambda path: os.symlink(os.path.dirname(path), path)],
    ids=["pipe", "link to nothing", "link to itself", "link to a device", "link to a folder"],
)  # fmt: skip
def test_names_of_images_and_captions_that_are_no_files(folder, name, make, at_once):
    pair(folder)
    (folder / name).unlink()
    make(str(folder / name))
    refused(folder, f"names of images or captions that are no files: {name}")


def test_a_folder_named_like_an_image_is_a_folder(folder):
    (pair(folder) / "c.png").mkdir()
    (folder / "a.png").rename(folder / "c.png" / "a.png")
    (folder / "a.txt").rename(folder / "c.png" / "a.txt")
    assert open_source(folder).name(0) == "c.png/a.png"
    (folder / "d.txt").mkdir()
    assert len(open_source(folder)) == 1


def test_a_file_that_became_a_pipe_is_refused(folder, at_once):
    source = open_source(pair(folder))
    for name, read in (("a.png", source.read), ("a.txt", source.caption), ("a.json", source.metadata)):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
        with pytest.raises(OSError, match=f"{name} is no regular file: replace or remove it"):
            read(0)


@pytest.fixture
def deep(folder):
    """A folder within 1,200 others; Python's own functions to make and remove such call themselves too often."""
    place = str(folder)
    for _ in range(1200):
        place += "/d"
        os.mkdir(place)
    yield place
    subprocess.run(["rm", "-rf", folder / "d"], check=True)


def test_more_nested_folders_than_python_calls_itself(folder, deep):
    pair(folder)
    for name in ("a.png", "a.txt"):
        os.rename(folder / name, f"{deep}/{name}")
    source = open_source(folder)
    assert source.name(0) == "d/" * 1200 + "a.png" and source.caption(0) == "words"
    jsonl(folder, {**ROW, "file_name": source.name(0)})
    assert open_source(folder).read(0) == source.read(0)


def test_names_that_are_not_utf8_or_not_printable(folder):
    image = (pair(folder) / "a.png").read_bytes()
    for name in (b"w\xf6rter", b"two\nlines", b"escape\x1b[31m"):
        (folder / os.fsdecode(name + b".png")).write_bytes(image)
        (folder / os.fsdecode(name + b".txt")).write_text("words")
    source = open_source(folder)
    read_all(source, metadata=False)
    labels = [source.label(index) for index in range(4)]
    assert all(label.isprintable() for label in labels) and any("w\\udcf6rter.png" in label for label in labels)
    (folder / "two\nlines.txt").write_bytes(b"\xff")
    refused(folder, r"two\\nlines.txt is not UTF-8", lambda source: Captions(source)[:])
    (folder / "two\nlines.txt").unlink()
    refused(folder, r"without a caption file: two\\nlines.png")
