"""Findings in datasets and caches."""

import io
import os
import tarfile
from functools import partial
from pathlib import Path

import numpy as np

from fuzz import image_damage, json_damage
from fuzz.case import Input
from fuzz.corpus.finding import FINDINGS, Finding, of_file


def tiff(dtype, _):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.linspace(0, 3, 1600).reshape(40, 40).astype(dtype)).save(file, format="TIFF")
    return file.getvalue()


def doubled(what, content):
    """A tar with a file, or a whole sample, twice."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar, tarfile.open(fileobj=out, mode="w") as other:
        members = [(member, tar.extractfile(member).read()) for member in tar]
        extra = [entry for entry in members if entry[0].name.startswith("0.")]
        for member, data in members + extra if what == "sample" else members[:1] + members:
            other.addfile(member, io.BytesIO(data))
    return out.getvalue()


def wrong_sum(content):
    """The second sample's header with another sum: everything from there on is not read by a lenient reader."""
    start = [place for place in range(0, len(content), 512) if content[place : place + 100].startswith(b"1.")][0]
    return content[: start + 148] + b"000001\0 " + content[start + 156 :]


def flipped_pixels(content):
    """A PNG one of whose compressed pixels is flipped; the sum of its chunk says so."""
    place = content.index(b"IDAT") + 40
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


of_file("a TIFF of float named .png", "images", "pictures/0.png", partial(tiff, np.float32))
of_file("a TIFF of integers named .png", "images", "pictures/0.png", partial(tiff, np.int32))
of_file("a PNG of 50,000 pixels a side", "images", "pictures/0.png", lambda _: image_damage.huge().content)
of_file("a PNG with another byte among its pixels", "images", "pictures/0.png", flipped_pixels)
of_file("a caption of Latin-1", "captions", "pictures/0.txt", lambda _: b"caf\xe9")
of_file("a caption of Latin-1, inference", "caption files", "pictures/0.txt", lambda _: b"caf\xe9")
of_file(
    "CSV with carriage returns alone", "CSV", "table_csv/metadata.csv", lambda content: content.replace(b"\n", b"\r")
)
of_file("CSV with a field of a million letters", "CSV", "table_csv/metadata.csv",
        lambda content: content + b'x.png,"' + b"a" * 10**6 + b'",1\n')  # fmt: skip
of_file("JSON lines, nested", "JSONL", "table_jsonl/metadata.jsonl",
        lambda content: content + json_damage.nested(100_000).encode() + b"\n")  # fmt: skip
of_file("a sidecar, nested", "sidecars", "pictures/0.json", lambda _: json_damage.nested(100_000).encode())
of_file("a sample twice in a tar", "tars", "tars/shard.tar", partial(doubled, "sample"))
of_file("a file twice in a tar", "tars", "tars/shard.tar", partial(doubled, "file"))
of_file("a header of a tar with a wrong sum", "tars", "tars/shard.tar", wrong_sum)


def other_sizes(folder):
    """.image_sizes.npz whose two arrays are of different lengths."""
    from fuzz.kinds.datasets import _with_buckets
    from ldm.data.kept_arrays import write_arrays

    _with_buckets(folder)
    path = folder / "pictures" / ".image_sizes.npz"
    before = path.read_bytes()
    with np.load(path) as file:
        arrays = {"keys": file["keys"][:-3], "sizes": file["sizes"]}
    write_arrays(path, arrays)
    return Input(folder, "arrays of other lengths", path, before, path.read_bytes(), must_refuse=True)


def deep_folders(folder):
    """1,200 folders in each other."""
    here = os.open(folder / "pictures", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    return Input(folder, "1,200 folders in each other", folder / "pictures", must_refuse=True)


FINDINGS["mismatched .image_sizes.npz"] = Finding("kept indices", other_sizes)
FINDINGS["1,200 nested folders"] = Finding("images", deep_folders)


def flipped_bits(pattern, count, folder):
    """Bits of the largest file that matches."""
    path = max(Path(folder).rglob(pattern), key=lambda path: path.stat().st_size)
    before = path.read_bytes()
    content = bytearray(before)
    for place in np.random.default_rng(0).integers(len(content) // 2, len(content), count):
        content[place] ^= 4
    path.write_bytes(content)
    return Input(folder, f"{count} bits of {path.name}", path, before, bytes(content), must_refuse=True)


for _pattern, _kind in (("step.pdiparams", "compile cache"), ("step.json", "compile cache"),
                        ("rows_*.safetensors", "feature cache"), ("shared.safetensors", "feature cache")):  # fmt: skip
    for _count in (1, 1000):
        FINDINGS[f"{_count} flipped bits, {_pattern}"] = Finding(_kind, partial(flipped_bits, _pattern, _count))
