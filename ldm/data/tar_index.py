"""What lies where in a webdataset tar: read from its headers once, then kept in a small file."""

import hashlib
import os
import sys
import tarfile
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Optional

import numpy as np
from tqdm.auto import tqdm

from ldm.atomic import atomic_path
from ldm.data.names import Names
from ldm.data.pairs import IMAGE_SUFFIXES
from ldm.data.processes import in_processes
from ldm.data.source import listed
from ldm.data.tar_headers import tar_files

FORMAT = 1  # raise it when the arrays mean something else
PARTS = ("image", "txt", "json")  # columns of the places
NO_PLACE = (-1, 0)
IMAGES = {suffix.removeprefix(".") for suffix in IMAGE_SUFFIXES}
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class TarIndex:
    """The samples of one tar in its order. names: KEY.jpg; places (N, 3, 2) int64: offset and length of PARTS, -1: none."""

    names: Names
    places: np.ndarray


def indices_of_tars(paths: Sequence[str], index_dir=None) -> list[TarIndex]:
    """The index of every tar, from the file kept beside it (or in `index_dir`) if the tar has not changed since.

    Tars without such a file are scanned, several at a time if there are several.
    """
    stamps = [_stamp(path) for path in paths]
    indices = [_kept(_index_path(path, index_dir), stamp) for path, stamp in zip(paths, stamps)]
    missing = [number for number, index in enumerate(indices) if index is None]
    progress = tqdm(missing, desc="Indexing tars", leave=False, disable=len(missing) < 8)
    with closing(in_processes(scan_tar, [paths[number] for number in missing])) as scanned:
        for number, index in zip(progress, scanned):
            indices[number] = index
            _keep(index, paths[number], stamps[number], index_dir)
    return indices


def _stamp(path: str) -> np.ndarray:
    """What tells whether a tar has changed."""
    stat = os.stat(path)
    return np.array([FORMAT, stat.st_size, stat.st_mtime_ns], np.int64)


def _kept(file: Path, stamp: np.ndarray) -> Optional[TarIndex]:
    """The index in a file; None if there is none of this stamp."""
    if not file.is_file():
        return None
    try:
        with np.load(file) as arrays:
            if not np.array_equal(arrays["stamp"], stamp):
                return None
            return TarIndex(Names.from_arrays(arrays["letters"], arrays["ends"]), arrays["places"])
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is damaged ({error}): delete it, it is made again.") from error


def _keep(index: TarIndex, path: str, stamp: np.ndarray, index_dir):
    try:
        with atomic_path(_index_path(path, index_dir)) as temporary, open(temporary, "wb") as file:
            np.savez(file, stamp=stamp, places=index.places, **index.names.arrays())
    except OSError as error:  # a read-only dataset: only the next start is slower
        print(f"The index of {path} is not kept ({error}): give --index_dir a folder to keep it in.", file=sys.stderr)


def _index_path(path: str, index_dir) -> Path:
    path = Path(path)
    if index_dir:
        return Path(index_dir) / f"{path.name}.{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.npz"
    return path.with_name(f".{path.name}.index.npz")


def scan_tar(path: str) -> TarIndex:
    """The index from the tar's headers, files grouped into samples as the webdataset package does.

    ValueError names samples with no image, several or a file twice, a compressed tar and a damaged one.
    """
    names, places, problems = Names(), array("q"), {}
    try:
        for key, files in groupby(_members(path), itemgetter(0)):  # neighbours of one key are a sample
            sample, twice = {}, False
            for _, suffix, offset, size in files:
                twice = twice or suffix in sample
                sample[suffix] = offset, size
            images = [suffix for suffix in sample if suffix in IMAGES]
            if len(images) != 1 or twice:
                problems.setdefault(_problem(images, twice), []).append(key)
                continue
            names.append(f"{key}.{images[0]}".encode("utf-8", "surrogateescape"))
            for part in (images[0], *PARTS[1:]):
                places.extend(sample.get(part, NO_PLACE))
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a tar ({error}): replace or remove it.") from error
    if problems:
        parts = (f"{len(keys)} {what}: {listed(keys, len(keys))}" for what, keys in problems.items())
        raise ValueError(f"{path}: {'; '.join(parts)}.")
    return TarIndex(names, np.array(places, np.int64).reshape(-1, len(PARTS), 2))


def _problem(images: list, twice: bool) -> str:
    if twice:
        return "samples with a file twice"
    return "samples with several images" if images else f"samples without image ({', '.join(IMAGE_SUFFIXES)})"


def split_name(name: str) -> tuple:
    """KEY and suffix of KEY.SUFFIX, where the suffix begins at the file's first dot; twice None where there is none.

    The rule is the webdataset package's own, which takes twice as long; hidden files do not come here.
    """
    folder, slash, file = name.rpartition("/")
    stem, dot, suffix = file.partition(".")
    return (folder + slash + stem, suffix) if stem and dot else (None, None)


def _members(path: str) -> Iterator[tuple[str, str, int, int]]:
    """(KEY, suffix in small letters, offset, size) of the tar's files that belong to samples."""
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            raise ValueError(
                f"{path} is compressed with {name}: unpack it to a plain .tar, which can be read anywhere in."
            )
    for name, offset, size in tar_files(path):
        if not name.startswith(".") and "/." not in name:
            key, suffix = split_name(name)
            if key is not None:
                yield key, suffix.lower(), offset, size
