"""ldm.data.captions: what is a caption, and what is said of what is none, with file and line."""

import os

import pytest

from ldm.data.captions import LONGEST, read_captions


def test_texts_and_files_in_their_order(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffa fox\r\n\r\n  a lighthouse, café \rthird\ttab".encode())
    assert read_captions(["first", str(tmp_path / "a.txt")]) == ["first", "a fox", "a lighthouse, café", "third\ttab"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty: write one caption a line"),
        (b" \n\n", "is empty"),
        (b"good\ncaf\xe9\n", "line 2: not UTF-8 text"),
        ("a fox".encode("utf-16"), "line 1: not UTF-8 text"),
        (b"good\n\nba\0d\n", "line 3: character 3 is the control character 0x00"),
        (b"esc \x1b[31m", "line 1: character 5 is the control character 0x1b"),
        (b"good\n" + b"x" * 1_000_000, f"line 2 has 1000000 characters, more than {LONGEST}"),
    ],
)
def test_files_that_hold_no_captions(tmp_path, content, message):
    path = tmp_path / "captions.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError) as refused:
        read_captions([str(path)])
    assert f"Caption file {path}" in str(refused.value) and message in str(refused.value)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing.txt does not exist"):
        read_captions([str(tmp_path / "missing.txt")])
    (tmp_path / "x.txt").mkdir()
    with pytest.raises(ValueError, match="x.txt is a folder"):
        read_captions([str(tmp_path / "x.txt")])
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(ValueError, match="pipe.txt is no ordinary file"):
        read_captions([str(tmp_path / "pipe.txt")])
    with open(tmp_path / "large.txt", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(ValueError, match="large.txt has 1073741824 bytes"):
        read_captions([str(tmp_path / "large.txt")])


@pytest.mark.parametrize("text", ["", "  ", "\0", "x" * (LONGEST + 1), "caf\udce9"])
def test_texts_that_are_no_captions(text):
    with pytest.raises(ValueError, match="^--caption"):
        read_captions([text])
