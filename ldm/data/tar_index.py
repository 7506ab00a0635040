"""What lies where in a webdataset tar: read from its headers once, then kept in a small file."""

import hashlib
import os
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldm.atomic import atomic_path
from ldm.data.names import Names
from ldm.data.pairs import IMAGE_SUFFIXES
from ldm.data.source import listed
from ldm.data.tar_headers import tar_files

FORMAT = 1  # raise it when the arrays mean something else
PARTS = ("image", "txt", "json")  # columns of the places
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class TarIndex:
    """The samples of one tar in its order. names: KEY.jpg; places (N, 3, 2) int64: offset and length of PARTS, -1: none."""

    names: Names
    places: np.ndarray


def index_of_tar(path: str, index_dir=None) -> TarIndex:
    """The index of a tar, from the file kept beside it (or in `index_dir`) if the tar has not changed since."""
    stat, kept = os.stat(path), _index_path(path, index_dir)
    stamp = np.array([FORMAT, stat.st_size, stat.st_mtime_ns], np.int64)
    if kept.is_file():
        try:
            with np.load(kept) as file:
                if np.array_equal(file["stamp"], stamp):
                    return TarIndex(Names.from_arrays(file["letters"], file["ends"]), file["places"])
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{kept} is damaged ({error}): delete it, it is made again.") from error
    index = scan_tar(path)
    try:
        with atomic_path(kept) as temporary, open(temporary, "wb") as file:
            np.savez(file, stamp=stamp, places=index.places, **index.names.arrays())
    except OSError as error:  # a read-only dataset: only the next start is slower
        print(f"The index of {path} is not kept ({error}): give --index_dir a folder to keep it in.", file=sys.stderr)
    return index


def _index_path(path: str, index_dir) -> Path:
    path = Path(path)
    if index_dir:
        return Path(index_dir) / f"{path.name}.{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.npz"
    return path.with_name(f".{path.name}.index.npz")


def scan_tar(path: str) -> TarIndex:
    """The index from the tar's headers, files grouped into samples as the webdataset package does.

    ValueError names samples with no image or several, a compressed tar and a damaged one.
    """
    from webdataset.tariterators import group_by_keys

    names, places, problems = Names(), [], {}
    try:
        for sample in group_by_keys(_members(path), split_name):
            images = [suffix for suffix in sample if f".{suffix}" in IMAGE_SUFFIXES]
            if len(images) != 1:
                what = (
                    "samples with several images" if images else f"samples without image ({', '.join(IMAGE_SUFFIXES)})"
                )
                problems.setdefault(what, []).append(sample["__key__"])
                continue
            names.append(f"{sample['__key__']}.{images[0]}".encode("utf-8", "surrogateescape"))
            places.append([sample.get(part, (-1, 0)) for part in (images[0], *PARTS[1:])])
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a tar ({error}): replace or remove it.") from error
    if problems:
        parts = (f"{len(keys)} {what}: {listed(keys, len(keys))}" for what, keys in problems.items())
        raise ValueError(f"{path}: {'; '.join(parts)}.")
    return TarIndex(names, np.array(places, np.int64).reshape(-1, len(PARTS), 2))


def split_name(name: str) -> tuple:
    """KEY and suffix of KEY.SUFFIX, where the suffix begins at the file's first dot; twice None where there is none.

    The rule is the webdataset package's own, which takes twice as long; hidden files do not come here.
    """
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return (folder + slash + stem, suffix) if stem and dot else (None, None)


def _members(path: str):
    """The tar's files as webdataset's stages pass them on, the place of the data instead of the data."""
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            raise ValueError(
                f"{path} is compressed with {name}: unpack it to a plain .tar, which can be read anywhere in."
            )
    for name, offset, size in tar_files(path):
        if not name.startswith(".") and "/." not in name:
            yield {"fname": name, "data": (offset, size), "__url__": path}
