"""Tables, captions and folders that somebody else wrote, or a crash left: right or refused in one line, never for ever."""

import json
import os
import random
import re
import signal
import subprocess

import pytest
from PIL import Image

from ldm.data.sources.filters import Filter
from ldm.data.sources.opening import open_source
from ldm.data.sources.source import Captions
from ldm.data.texts import LONGEST_CAPTION, LONGEST_METADATA, one_line
from ldm.data.transforms import open_rgb

VARIANTS = 150  # more by FUZZ=5000


@pytest.fixture
def at_once():
    """What takes 20 seconds hangs."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / name)
    return tmp_path


def pair(folder, caption: bytes = b"words", name="a"):
    (folder / f"{name}.txt").write_bytes(caption)
    (folder / "b.png").unlink(missing_ok=True)
    return folder


def refused(path, message, work=lambda source: None, **options):
    """One line that matches `message`."""
    with pytest.raises((ValueError, OSError)) as error:
        work(open_source(path, **options))
    text = str(error.value)
    assert re.search(message, text) and text.isprintable() and len(text) < 3000, text[:3000]


def read_all(source):
    for index in range(len(source)):
        source.name(index), source.label(index), source.stamp(index), source.caption(index)
        with source.open(index) as file:
            open_rgb(file, source.label(index))


# Captions -------------------------------------------------------------------------------------------------------


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


# Folders --------------------------------------------------------------------------------------------------------


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
    read_all(source)
    labels = [source.label(index) for index in range(4)]
    assert all(label.isprintable() for label in labels) and any("w\\udcf6rter.png" in label for label in labels)
    (folder / "two\nlines.txt").write_bytes(b"\xff")
    refused(folder, r"two\\nlines.txt is not UTF-8", lambda source: Captions(source)[:])
    (folder / "two\nlines.txt").unlink()
    refused(folder, r"without a caption file: two\\nlines.png")


# Tables ---------------------------------------------------------------------------------------------------------

ROW = {"file_name": "a.png", "text": "words"}


def jsonl(folder, *lines):
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    (folder / "metadata.jsonl").write_bytes(data)
    return folder


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


# Filters --------------------------------------------------------------------------------------------------------

SAMPLE = {
    "w": 640,
    "million": 10**6,
    "big": 10**4000,
    "nan": float("nan"),
    "inf": float("inf"),
    "text": "x" * 900_000,
    "none": None,
}


@pytest.mark.parametrize(
    "text, message",
    [
        ("*".join(["million"] * 90), "a number is too large"),
        ("big * big > 1", "a number is too large"),
        ("1e308 * 10 > w", "a number is too large"),
        ("nan > 1", r"'nan' is nan; 'has\(nan\) and ...' leaves such samples out"),
        ("value('inf') > 1", r"'inf' is inf; 'has\(inf\)"),
        ("text * 2 == text", "is no number"),
        ("-text", "is no number"),
        ("abs(w, w)", "exactly one argument"),
        ("missing", r"has no 'missing' \(it has w, million, big, nan"),
        ("9" * 400 + " * 9 > w", "a number is too large"),
    ],
)
def test_filters_do_not_take_for_ever_and_name_the_sample(text, message, at_once):
    keep = Filter(text)
    with pytest.raises(ValueError, match=message) as error:
        keep(SAMPLE)
    assert str(error.value).isprintable() and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "text", ["+".join("w" * 500), "-" * 1900 + "w", "not " * 120 + "w", "w" * 10_000_000, "w\0", "'\ud800'"]
)
def test_filters_that_are_too_deep_or_no_text(text, at_once):
    with pytest.raises(ValueError, match="--data_filter") as error:
        Filter(text)
    assert len(str(error.value)) < 1000


def test_has_is_false_for_what_cannot_be_compared():
    assert not any(Filter(f"has({name})")(SAMPLE) for name in ("nan", "inf", "none", "missing")) and Filter("has(big)")(
        SAMPLE
    )


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_numbers_of_json_that_are_none(folder, number):
    jsonl(
        folder,
        f'{{"file_name": "a.png", "text": "x", "score": {number}}}'.encode(),
        {**ROW, "file_name": "b.png", "score": 3},
    )
    refused(folder, "a.png: 'score' is (nan|inf|-inf); 'has", data_filter="score > 1")
    assert len(open_source(folder, data_filter="has(score) and score > 1")) == 1
