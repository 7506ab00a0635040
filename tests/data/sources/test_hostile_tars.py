"""Tars that somebody else wrote, or a crash left, and what is kept beside them: right, or refused in one line."""

import io
import os
import random
import signal
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ldm.data import image_sizes
from ldm.data.kept_arrays import write_arrays
from ldm.data.sources import tar_paths
from ldm.data.sources.opening import open_source
from ldm.data.sources.tar_paths import expanded, find_tars, most_paths
from ldm.data.transforms import open_rgb

VARIANTS = 150  # of every layout; more by FUZZ=5000
LAYOUTS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture(autouse=True)
def at_once():
    """What takes 60 seconds hangs."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def png(colour="red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, "PNG")
    return file.getvalue()


def member(name, **options):
    info = tarfile.TarInfo(name)
    for key, value in options.items():
        setattr(info, key, value)
    return info


def write(path, files, layout=tarfile.GNU_FORMAT):
    """files: (name or TarInfo, bytes)."""
    with tarfile.open(path, "w", format=layout) as tar:
        for name, data in files:
            info = name if isinstance(name, tarfile.TarInfo) else member(name)
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def sample(key, caption=b"words"):
    return [(f"{key}.png", png()), (f"{key}.txt", caption), (f"{key}.json", b'{"width": 3}')]


def read_all(source) -> list:
    read = []
    for index in range(len(source)):
        with source.open(index) as file:
            open_rgb(file, source.label(index))
        read.append((source.name(index), source.caption(index), source.metadata(index), source.stamp(index)))
    return read


def refused(path, message, **options):
    with pytest.raises((ValueError, OSError), match=message) as error:
        read_all(open_source(path, **options))
    assert str(error.value).isprintable()


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


@pytest.mark.parametrize("name", [".x.tar.index.npz", ".image_sizes.npz"])
def test_damaged_kept_files_are_named_or_change_nothing(tmp_path, name):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])

    def everything():
        source = open_source(path)
        return read_all(source), image_sizes.image_sizes(source)[0].tolist()

    expected, kept = everything(), tmp_path / name
    whole, rng = kept.read_bytes(), random.Random(name)
    for place in rng.sample(range(len(whole)), min(len(whole), int(os.environ.get("FUZZ", 2 * VARIANTS)))):
        kept.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + rng.randrange(2) :]
        )
        try:
            assert everything() == expected
        except ValueError as error:
            assert f"{name} is damaged" in str(error) and "delete it, it is made again" in str(error)
    kept.unlink()
    assert everything() == expected


def npz(path, **arrays):
    """Kept arrays with the checksum that belongs to them."""
    write_arrays(path, {name: array for name, array in arrays.items() if name != "checksum"})
    return path


def test_kept_arrays_that_were_changed_are_refused(tmp_path):
    """In a file whose own checksums are right; one without ours is of an earlier version, and made again."""
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])
    names = [name for name, *_ in read_all(open_source(path))]
    kept = tmp_path / ".x.tar.index.npz"
    arrays = dict(np.load(kept))
    np.savez(kept, **{**arrays, "letters": np.full_like(arrays["letters"], ord("z"))})
    refused(path, ".x.tar.index.npz is damaged .its arrays do not have its checksum")
    arrays.pop("checksum")
    np.savez(kept, **{**arrays, "letters": np.full_like(arrays["letters"], ord("z"))})
    assert [name for name, *_ in read_all(open_source(path))] == names
    assert "checksum" in np.load(kept)


@pytest.mark.parametrize(
    "keys, sizes",
    [
        (np.arange(3, dtype=np.uint64), np.ones((2, 2), np.int32)),
        (np.arange(3, dtype=np.uint64), np.ones((3, 3), np.int32)),
        (np.arange(3, dtype=np.uint64), np.ones((3, 2), np.float64)),
        (np.arange(3, dtype=np.int64), np.ones((3, 2), np.int32)),
        (np.arange(3, dtype=np.uint64), -np.ones((3, 2), np.int32)),
        (np.zeros(3, np.uint64), np.ones((3, 2), np.int32)),
        (np.array([open, 1], object), np.ones((2, 2), np.int32)),
        (np.uint64(3), np.ones((1, 2), np.int32)),
    ],
)
def test_image_sizes_that_do_not_fit_are_refused(tmp_path, keys, sizes):
    path = write(tmp_path / "x.tar", sample("a"))
    npz(tmp_path / ".image_sizes.npz", keys=keys, sizes=sizes)
    with pytest.raises(ValueError, match=".image_sizes.npz is damaged .*: delete it, it is made again"):
        image_sizes.image_sizes(open_source(path))


def test_nothing_kept_is_unpickled_or_believed_in_size(tmp_path):
    """A header that promises 10^12 numbers in a file of some bytes, one packed a thousand times, one with a pickle."""
    path = write(tmp_path / "x.tar", sample("a"))
    kept = tmp_path / ".image_sizes.npz"
    header = {"descr": "<u8", "fortran_order": False, "shape": (10**12,)}
    for dtype, more in (
        (header, b""),
        ({**header, "shape": (-2, -3)}, b"\0" * 48),
        ({**header, "descr": "|O"}, b"cos\nsystem\n(S'x'\ntR."),
    ):
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, dtype)
        with zipfile.ZipFile(kept, "w") as archive:
            archive.writestr("keys.npy", file.getvalue() + more)
            archive.writestr("sizes.npy", file.getvalue() + more)
            archive.writestr("checksum.npy", file.getvalue() + more)
        with pytest.raises(ValueError, match=".image_sizes.npz is damaged"):
            image_sizes.image_sizes(open_source(path))
    np.savez_compressed(kept, keys=np.zeros(10**6, np.uint64), sizes=np.zeros((10**6, 2), np.int32),
                        checksum=np.zeros(1, np.uint32))  # fmt: skip
    with pytest.raises(ValueError, match=".image_sizes.npz is damaged .*compressed"):
        image_sizes.image_sizes(open_source(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays["places"].__setitem__((0, 0, 0), 10**9),
        lambda arrays: arrays["places"].__setitem__((0, 0, 1), 2**62),
        lambda arrays: arrays["places"].__setitem__((0, 0, 0), -1),
        lambda arrays: arrays["places"].__setitem__((0, 1, 1), -5),
        lambda arrays: arrays["places"].__setitem__((0, 0, 0), 7),
        lambda arrays: arrays["places"].__setitem__(..., arrays["places"][::-1].copy()),
        lambda arrays: arrays["places"].__setitem__(1, arrays["places"][0]),
        lambda arrays: arrays.update(places=arrays["places"][:1]),
        lambda arrays: arrays.update(ends=arrays["ends"][::-1]),
        lambda arrays: arrays["ends"].__setitem__(-1, 10**9),
        lambda arrays: arrays.update(ends=arrays["ends"][:0]),
    ],
)
def test_an_index_that_points_outside_its_tar_is_refused(tmp_path, change):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])
    open_source(path)
    kept = tmp_path / ".x.tar.index.npz"
    arrays = dict(np.load(kept))
    change(arrays)
    npz(kept, **arrays)
    with pytest.raises(ValueError, match=".x.tar.index.npz is damaged"):
        open_source(path)


# Braces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["x-{0..999999999}.tar", "{0..99}{0..99}{0..99}.tar", "{a,b}" * 30 + ".tar", "{" + "9" * 5000 + "..1}.tar", "x" * 5000 + ".tar",
     "{0.." + "9" * 25 + "}.tar", "{{0..9999},{a,{0..9999}}}{0..99}.tar", "{" * 2000 + "}" * 2000 + ",x{0..99999999}.tar"],
)  # fmt: skip
def test_braces_for_too_many_paths_are_refused_before_they_are_expanded(text):
    with pytest.raises(ValueError, match="more than 100000 paths|cannot be expanded") as error:
        find_tars(text)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["{1{2,3}.tar", "}.tar", "{.tar"])
def test_braces_that_are_not_closed(text):
    with pytest.raises(ValueError, match="--dataset_path .*: a brace is not closed, or not opened"):
        expanded(text)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "{000..012}",
        "{3..1}",
        "{a..e}",
        "{a,b}{1..3}",
        "{a,{1..3},b}",
        "{,x}",
        "{}",
        "{1..9..2}",
        "{a..Z}",
        "{x}{y}",
    ],
)
def test_the_bound_is_never_below_what_braces_stand_for(text):
    assert len(expanded(text)) <= most_paths(text) <= tar_paths.MOST
