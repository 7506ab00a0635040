"""What lies where in a webdataset tar: read from its headers once, then kept in a small file."""

import hashlib
import sys
import tarfile
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

from ldm.data.kept_arrays import damaged, read_arrays, write_arrays
from ldm.data.processes import in_processes
from ldm.data.sources.files import stamp_of
from ldm.data.sources.pairs import IMAGE_SUFFIXES
from ldm.data.sources.source import Names, listed
from ldm.data.sources.tar_headers import BLOCK, tar_files
from ldm.data.texts import printable

FORMAT = 2  # raise it when the arrays mean something else
PARTS = ("image", "txt", "json")  # columns of the places
NO_PLACE = (-1, 0)
INT64 = np.dtype(np.int64)
ARRAYS = {"stamp": (INT64, 1), "places": (INT64, 3), "letters": (np.dtype(np.uint8), 1), "ends": (INT64, 1)}
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
    return np.array([FORMAT, *(value % 2**63 for value in stamp_of(path))], INT64)  # inodes may have 64 bits


def _kept(file: Path, stamp: np.ndarray) -> Optional[TarIndex]:
    """The index in a file; None if there is none of this stamp. ValueError if it is damaged or points outside the tar."""
    arrays = read_arrays(file, ARRAYS)
    if not arrays or not np.array_equal(arrays["stamp"], stamp):
        return None
    places = arrays["places"]
    try:
        names = Names.from_arrays(arrays["letters"], arrays["ends"])
    except ValueError as error:
        raise damaged(file, error) from error
    if places.shape != (len(names), len(PARTS), 2):
        raise damaged(file, f"{len(names)} names and places of shape {places.shape}")
    offsets, lengths = places[..., 0], places[..., 1]
    inside = (offsets >= 0) & (lengths >= 0) & (offsets <= stamp[1]) & (lengths <= stamp[1] - offsets)
    absent = (places == NO_PLACE).all(-1)
    absent[:, 0] = False
    if not (inside | absent).all():
        raise damaged(file, "places outside the tar")
    if (offsets % BLOCK)[~absent].any() or (np.diff(offsets[:, 0]) <= 0).any():  # images come in the tar's order
        raise damaged(file, "places where no file of a tar begins")
    return TarIndex(names, places)


def _keep(index: TarIndex, path: str, stamp: np.ndarray, index_dir):
    try:
        arrays = {"stamp": stamp, "places": index.places, **index.names.arrays()}
        write_arrays(_index_path(path, index_dir), arrays)
    except OSError as error:  # a read-only dataset: only the next start is slower
        print(f"The index of {path} is not kept ({error}): give --index_dir a folder to keep it in.", file=sys.stderr)


def _index_path(path: str, index_dir) -> Path:
    path = Path(path)
    if index_dir:
        return Path(index_dir) / f"{path.name}.{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}.npz"
    return path.with_name(f".{path.name}.index.npz")


def scan_tar(path: str) -> TarIndex:
    """The index from the tar's headers, files grouped into samples as the webdataset package does.

    ValueError names samples with no image, several, a file twice or one that comes again later, a compressed tar and a
    damaged one.
    """
    names, places, problems, keys = Names(), array("q"), {}, array("q")
    _check_uncompressed(path)
    try:
        for key, files in groupby(_members(path), itemgetter(0)):  # neighbours of one key are a sample
            sample, twice = {}, False
            for _, suffix, offset, size in files:
                twice = twice or suffix in sample
                sample[suffix] = offset, size
            keys.append(hash(key))
            images = [suffix for suffix in sample if suffix in IMAGES]
            if len(images) != 1 or twice:
                problems.setdefault(_problem(images, twice), []).append(key)
                continue
            names.append(f"{key}.{images[0]}".encode("utf-8", "surrogateescape"))
            for part in (images[0], *PARTS[1:]):
                places.extend(sample.get(part, NO_PLACE))
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{printable(path)} cannot be read as a tar ({error}): replace or remove it.") from error
    if not problems and (again := _come_again(names, np.frombuffer(keys, INT64))):
        problems["samples that come again later"] = again
    if problems:
        parts = (f"{len(keys)} {what}: {listed(keys, len(keys))}" for what, keys in problems.items())
        raise ValueError(f"{path}: {'; '.join(parts)}.")
    return TarIndex(names, np.array(places, np.int64).reshape(-1, len(PARTS), 2))


def _come_again(names: Names, keys) -> list:
    """Names of samples whose KEY another one before them has; known by hashes of the keys (N,), in little memory."""
    order = np.argsort(keys, kind="stable")
    again = order[1:][keys[order][1:] == keys[order][:-1]]
    return [names[index] for index in np.sort(again).tolist()]


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


def _check_uncompressed(path: str):
    with open(path, "rb") as file:
        start = file.read(8)
    for magic, name in MAGIC.items():
        if start.startswith(magic):
            raise ValueError(
                f"{printable(path)} is compressed with {name}: unpack it to a plain .tar, which can be read anywhere in."
            )


def _members(path: str) -> Iterator[tuple[str, str, int, int]]:
    """(KEY, suffix in small letters, offset, size) of the tar's files that belong to samples, hidden ones left out."""
    for name, offset, size in tar_files(path):
        if (name.startswith(".") or "/." in name) and _hidden(name):
            continue
        key, suffix = split_name(name)
        if key is not None:
            yield key, suffix.lower(), offset, size


def _hidden(name: str) -> bool:
    """Whether a part of the name begins with a dot; . and .. are no such parts: `tar cf x.tar .` writes ./NAME."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))
