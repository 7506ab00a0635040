"""Tables that somebody else wrote, or a crash left: right or refused in one line, never for ever."""

import json
import os
import random

import pytest
from hostile import ROW, VARIANTS, jsonl, read_all, refused

from ldm.data.sources.opening import open_source
from ldm.data.texts import LONGEST_CAPTION, LONGEST_METADATA


@pytest.fixture
def folder(two_images):
    return two_images


def csv(folder, data: bytes):
    (folder / "metadata.csv").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "line, message",
    [
        (b'{"a":' * 100_000, "line 2 is nested too deeply to be read: correct the line"),
        (b"[" * 100_000, "line 2 is nested too deeply"),
        (b'{"file_name": "b.png", "text": "' + b"x" * LONGEST_METADATA + b'"}', "line 2 has more than 1048576 bytes"),
        (b"1" * 5000, "line 2 is not JSON"),
        (b'"text"', "line 2 holds a str where an object"),
        (b"\xff\xfe{}", "line 2 is not UTF-8 text but UTF-16"),
        (b'{"file_name": "b\xf6.png", "text": "x"}', "line 2 is not UTF-8 text"),
        ({**ROW, "file_name": "/etc/x.png"}, "1 rows whose file_name is not below the table's folder: row 2"),
        ({**ROW, "file_name": "../x.png"}, "not below the table's folder: row 2"),
        ({**ROW, "file_name": "x/../../x.png"}, "not below the table's folder: row 2"),
        ({**ROW, "file_name": "b\0.png"}, "not below the table's folder: row 2"),
        ({**ROW, "file_name": "./x/../a.png"}, "named twice: a.png"),
        ({**ROW, "file_name": "\ud800.png"}, r"do not exist: \\ud800.png"),
        ({**ROW, "file_name": 7}, "file_name is no image"),
        ({**ROW, "file_name": "b.png", "text": 7}, "without a caption in 'text': row 2"),
        ({**ROW, "file_name": "pipe.png"}, "do not exist: pipe.png"),
        ({**ROW, "file_name": "folder.png"}, "do not exist: folder.png"),
    ],
)
def test_rows_that_are_refused(folder, line, message, at_once):
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    refused(jsonl(folder, ROW, line), message, read_all)


@pytest.mark.parametrize("text", ["x" * (LONGEST_CAPTION + 1), "a\0b", "\ud800"])
def test_captions_of_rows_are_refused_when_they_are_read(folder, text):
    refused(jsonl(folder, {**ROW, "text": text}), "row 1 has", read_all)


def test_a_byte_order_mark_before_a_table(folder):
    assert open_source(jsonl(folder, b"\xef\xbb\xbf" + json.dumps(ROW).encode())).caption(0) == "words"


@pytest.mark.parametrize(
    "data, message",
    [
        (b"file_name,text\ra.png,words\rb.png,words\r", "metadata.csv, line 1: new-line .*CR alone: save it with LF"),
        (b"file_name,text\na.png,words\rb.png,words\r", "metadata.csv, line 2: new-line .*CR alone"),
        (b"file_name,text\na.png,\"" + b"x" * 10_000_000 + b'"\n', "line 2 has more than 1048576 bytes"),
        (b"file_name,text\na.png,\"" + b"x" * 200_000 + b'"\n', "metadata.csv, line 2: field larger than"),
        (b'file_name,text\na.png,"' + b'x","\n' * 500_000, "belongs to a row of more than 1048576 bytes"),
        (b'file_name,text\na.png,"words', "metadata.csv, line 2: unexpected end"),
        (b'file_name,"text', "metadata.csv, line 1: unexpected end"),
        ("file_name,text\na.png,words".encode("utf-16"), "metadata.csv, line 1 is not UTF-8 text but UTF-16"),
        (b"file_name,text\na.png,w\xf6rter", "metadata.csv, line 2 is not UTF-8 text"),
        (b"file_name,text\n../a.png,words", "not below the table's folder: row 1"),
        (b"file_name,file_name,text\na.png,a.png,words", "must begin with different column names"),
        (b"", "must begin with"),
        (b"\0", "must begin with"),
    ],
)  # fmt: skip
def test_csv_that_is_refused(folder, data, message):
    refused(csv(folder, data), message, read_all)


@pytest.mark.parametrize("data", [b"file_name,text\r\na.png,words\r\n", b"\xef\xbb\xbffile_name,text\na.png,words"])
def test_csv_as_other_programs_write_it(folder, data):
    assert open_source(csv(folder, data)).caption(0) == "words"


def test_only_finite_numbers_are_numbers(folder):
    csv(folder, b"file_name,text,a,b,c,d,e\na.png,words,nan,inf,1_000,1e999,1e3\n")
    assert open_source(folder).metadata(0) == {
        **ROW, "a": "nan", "b": "inf", "c": "1_000", "d": "1e999", "e": 1000.0,
    }  # fmt: skip


def test_a_table_that_changes_is_not_read_further(folder):
    source = open_source(jsonl(folder, ROW, {**ROW, "file_name": "b.png"}))
    assert source.caption(1) == "words"
    jsonl(folder, ROW, {**ROW, "file_name": "b.png", "text": "other"})
    with pytest.raises(ValueError, match="metadata.jsonl has changed since it was opened"):
        source.caption(1)


def damaged(data: bytes, rng: random.Random) -> bytes:
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5])):
        place, kind = rng.randrange(len(data) or 1), rng.randrange(4)
        if kind == 0:
            data[place : place + 1] = bytes([rng.choice([*range(256), *b'",{}[]\r\n\\:0e'])])
        elif kind == 1:
            del data[place : place + rng.choice([1, 3, 20])]
        elif kind == 2:
            data[place:place] = data[place : place + rng.choice([1, 8, 30])]
        else:
            data = data[: max(1, place)]
    return bytes(data)


@pytest.mark.parametrize(
    "name, whole",
    [
        ("metadata.jsonl", "\n".join(json.dumps({**ROW, "file_name": n, "n": 1.5, "t": ["ü"]}) for n in ("a.png", "b.png"))),
        ("metadata.csv", 'file_name,text,n\na.png,"two\nlines ""q"" ü",3\r\nb.png,hello,1e3\n'),
    ],
)  # fmt: skip
def test_damaged_tables_are_read_or_named(folder, name, whole):
    rng = random.Random(name)
    for _ in range(int(os.environ.get("FUZZ", VARIANTS))):
        (folder / name).write_bytes(damaged(whole.encode(), rng))
        try:
            read_all(open_source(folder))
            open_source(folder, data_filter="has(n) and n > 1")
        except (ValueError, OSError) as error:
            assert str(folder) in str(error) and str(error).isprintable() and not isinstance(error, UnicodeError)
