"""Tars that somebody else wrote, or a crash left: right, or refused in one line."""

import os
import random
import tarfile
from pathlib import Path

import pytest
from hostile import VARIANTS, member, png, read_all, refused, sample, write

from ldm.data.sources.opening import open_source

pytestmark = pytest.mark.usefixtures("at_once")
LAYOUTS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def test_names_are_but_labels(tmp_path):
    """Absolute, with .. or ./: nothing is opened by them. Only names with a hidden part are left out."""
    keys = ["./a", "../b", "/etc/c", "d/../../e", "./f/./g"]
    path = write(tmp_path / "x.tar", [file for key in [*keys, ".hidden/x", "a/.x"] for file in sample(key)])
    assert [name for name, *_ in read_all(open_source(path))] == [f"x.tar/{key}.png" for key in keys]


def test_samples_that_come_again_are_named(tmp_path):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b"), *sample("a"), ("b.jpg", png()), ("b.txt", b"x")])
    refused(path, r"x.tar: 2 samples that come again later: a.png, b.jpg")


LINKS = {"hard link": tarfile.LNKTYPE, "link": tarfile.SYMTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}


@pytest.mark.parametrize("kind", LINKS.values(), ids=LINKS)
def test_links_and_devices_are_no_files(tmp_path, kind):
    first = sample("a")
    link = member("b.png", type=kind, linkname="/etc/passwd")
    refused(write(tmp_path / "x.tar", [*first, (link, b""), ("b.txt", b"x")]), "1 samples without image .*: b")
    link = member("b.txt", type=kind, linkname="a.txt")
    refused(write(tmp_path / "y.tar", [*first, ("b.png", png()), (link, b"")]), "1 samples have no or an empty .txt")


def test_sparse_files_are_refused(tmp_path):
    """Their data in the tar are shorter than they are."""
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "4096", "GNU.sparse.numblocks": "1",
               "GNU.sparse.map": "0,10", "GNU.sparse.name": "a.png"}  # fmt: skip
    path = write(
        tmp_path / "x.tar", [(member("a.png", pax_headers=headers), b"x" * 10), *sample("b")], tarfile.PAX_FORMAT
    )
    refused(path, "x.tar cannot be read as a tar .*'a.png' is a sparse file: write the tar without --sparse")


def edited(path, place, value: bytes, header=0):
    """A tar with bytes of a header changed and its checksum made right."""
    data = bytearray(open(path, "rb").read())
    data[header + place : header + place + len(value)] = value
    seal(data, header)
    open(path, "wb").write(data)
    return str(path)


def seal(data: bytearray, header: int):
    total = sum(data[header : header + 148]) + sum(data[header + 156 : header + 512]) + 8 * 32
    data[header + 148 : header + 156] = b"%06o\0 " % total


SIZE = 124


@pytest.mark.parametrize(
    "size",
    [b"77777777777\0", b"07346545000\0", b"-0000001000\0", b"-0000000001\0", b"\xff" * 11 + b"\0", b"\x80" + b"\xff" * 11,
     b"\xff" * 10 + b"\xfc\0", b"1_000000000\0", b"9999\0", b"\x80" + b"\0" * 7 + b"\x7f\xff\xff\xff"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [b"0", b"x", b"g", b"L", b"K", b"S", b"5", b"Z"])
def test_absurd_sizes_take_neither_memory_nor_time(tmp_path, size, kind):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])
    edited(edited(path, SIZE, size), 156, kind)
    with pytest.raises(ValueError, match="x.tar(: | cannot be read as a tar)"):
        open_source(path)


def test_many_extensions_in_a_row_are_refused(tmp_path):
    """tarfile calls itself for each."""
    path = write(tmp_path / "x.tar", sample("a"))
    data = bytearray(open(path, "rb").read())
    header = bytearray(data[:512])
    header[156:157], header[SIZE : SIZE + 12] = b"g", b"00000000014\0"
    seal(header, 0)
    open(path, "wb").write((bytes(header) + b"12 a=bcdefg\n".ljust(512, b"\0")) * 3000 + data)
    refused(path, "x.tar cannot be read as a tar")


def test_a_tar_that_changes_is_not_read_further(tmp_path):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])
    source = open_source(path)
    assert source.caption(0) == "words"
    with open(path, "ab") as file:
        file.write(b"\0" * 512)
    for read in (source.caption, source.read, source.metadata):
        with pytest.raises(ValueError, match="x.tar has changed since it was opened"):
            read(1)


def test_another_tar_of_the_same_size_and_time_is_indexed_again(tmp_path):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])
    first, before = read_all(open_source(path)), os.stat(path)
    write(path, [*sample("b"), *sample("a", b"other")])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(path).st_size == before.st_size
    assert [name for name, *_ in read_all(open_source(path))] == [first[1][0], first[0][0]]


@pytest.mark.parametrize(
    "text, message",
    [
        (b"x" * 70_000, "has more than 65536 bytes: shorten"),
        (b"a\0b", "has a NUL"),
        ("x".encode("utf-16"), "not UTF-8 text but UTF-16"),
    ],
)
def test_captions_in_tars_that_are_none(tmp_path, text, message):
    refused(write(tmp_path / "x.tar", sample("a", text)), f"The caption of .*x.tar/a.png .*{message}")


@pytest.mark.parametrize(
    "text, message",
    [
        (b'{"a":' * 100_000 + b"1", "its .json is nested too deeply"),
        (b"[1]", "its .json holds a list"),
        (b'{"caption": "' + b"x" * 2_000_000, "its .json has more than 1048576 bytes"),
        (b'{"caption": "\\ud800"}', "half a character"),
        (b"\xff", "its .json is not UTF-8"),
    ],
)
def test_metadata_in_tars_that_are_none(tmp_path, text, message):
    path = write(tmp_path / "x.tar", [("a.png", png()), ("a.json", text)])
    refused(path, f"x.tar/a.png:? .*{message}", caption_key="caption")


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("member", [1, 2])
def test_a_damaged_header_is_not_taken_for_the_end(tmp_path, layout, member):
    """tarfile ends there without a word: the samples behind it would be lost."""
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b"), *sample("c")], LAYOUTS[layout])
    with tarfile.open(path) as tar:
        place = tar.getmembers()[member].offset_data - 512
    data = bytearray(Path(path).read_bytes())
    data[place] ^= 1
    Path(path).write_bytes(data)
    refused(path, "x.tar cannot be read as a tar .a header at byte .* is damaged")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tars_that_were_joined_are_refused(tmp_path, layout):
    parts = [Path(write(tmp_path / f"{name}.tar", sample(name), LAYOUTS[layout])).read_bytes() for name in "ab"]
    path = tmp_path / "x.tar"
    path.write_bytes(b"".join(parts))
    refused(path, "something else comes behind the tar's end")
    path.write_bytes(parts[0] + bytes(100_000))  # padding is none
    assert len(read_all(open_source(path))) == 1


# Damaged files --------------------------------------------------------------------------------------------------


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Headers with a changed byte and a right checksum, mostly; also cut off, and bytes changed anywhere."""
    data = bytearray(data)
    headers = [place for place in range(0, len(data) - 511, 512) if data[place + 257 : place + 262] == b"ustar"]
    for _ in range(rng.choice([1, 1, 2, 3])):
        header = rng.choice(headers)
        field = rng.choice(
            [rng.randrange(100), SIZE + rng.randrange(12), 156, 257 + rng.randrange(8), 512 + rng.randrange(60)]
        )
        data[header + field : header + field + 1] = bytes([rng.choice([*b"01x5gLKSX-\x80\xff\0 ", rng.randrange(256)])])
        if rng.random() < 0.9:
            seal(data, header)
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.1 else data)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_tars_are_read_or_named(tmp_path, layout):
    rng, path = random.Random(layout), tmp_path / "x.tar"
    long = "n" * (60 if layout == "ustar" else 150)
    write(path, [*sample("a"), *sample(long)], LAYOUTS[layout])
    whole = path.read_bytes()
    for _ in range(int(os.environ.get("FUZZ", VARIANTS))):
        path.write_bytes(damaged(whole, rng))
        for _ in range(2):  # the second time from the kept index
            try:
                read_all(open_source(path))
            except (ValueError, OSError) as error:
                assert str(tmp_path) in str(error) and str(error).isprintable() and not isinstance(error, UnicodeError)
