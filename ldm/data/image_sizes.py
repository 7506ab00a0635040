"""The sizes of all images of a dataset from their headers, read once and kept in a small file."""

import hashlib
import sys
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ldm.data.kept_arrays import damaged, read_arrays, write_arrays
from ldm.data.sources.files import key_of_image
from ldm.data.sources.source import ImageSource
from ldm.data.transforms import upright_size

FILE = ".image_sizes.npz"
ARRAYS = {"keys": (np.dtype(np.uint64), 1), "sizes": (np.dtype(np.int32), 2)}


def image_sizes(source: ImageSource, index_dir=None) -> tuple[np.ndarray, dict]:
    """Upright widths and heights (N, 2) int32, and {number: what is wrong} of those that cannot be read (size 0).

    Images that have not changed since they were last looked at (name and stamp, ldm/data/sources/files.py) are not opened.
    What is kept lies beside the data, or in `index_dir`.
    """
    path = _kept_path(source, index_dir)
    known_keys, known_sizes = _read(path)
    keys = np.fromiter((key_of_image(source, index) for index in range(len(source))), np.uint64, len(source))
    sizes, problems = np.zeros((len(source), 2), np.int32), {}
    if len(known_keys):
        places = np.minimum(np.searchsorted(known_keys, keys), len(known_keys) - 1)
        known = known_keys[places] == keys
        sizes[known] = known_sizes[places[known]]
    unknown = np.flatnonzero(sizes[:, 0] == 0)
    for index in tqdm(unknown, desc="Reading image sizes", leave=False, disable=len(unknown) < 1000):
        try:
            with source.open(index) as file:
                sizes[index] = upright_size(file, source.label(index))
        except (ValueError, OSError) as error:
            problems[int(index)] = str(error)
    if len(unknown) > len(problems):
        _write(path, np.concatenate([known_keys, keys]), np.concatenate([known_sizes, sizes]))
    return sizes, problems


def _kept_path(source: ImageSource, index_dir) -> Path:
    if index_dir:
        return Path(index_dir) / f"{hashlib.sha256(str(Path(source.where).resolve()).encode()).hexdigest()[:16]}{FILE}"
    return Path(source.where) / FILE


def _read(path: Path):
    """Keys (M,), ascending, and sizes (M, 2)."""
    arrays = read_arrays(path, ARRAYS)
    if not arrays:
        return np.empty(0, np.uint64), np.empty((0, 2), np.int32)
    keys, sizes = arrays["keys"], arrays["sizes"]
    if sizes.shape != (len(keys), 2):
        raise damaged(path, f"{len(keys)} keys and sizes of shape {sizes.shape}")
    if (sizes <= 0).any() or (keys[1:] <= keys[:-1]).any():
        raise damaged(path, "sizes that are not positive, or keys that do not ascend")
    return keys, sizes


def _write(path: Path, keys, sizes):
    """Keep what is known, sorted by key."""
    keys, first = np.unique(keys[sizes[:, 0] > 0], return_index=True)
    sizes = sizes[sizes[:, 0] > 0][first]
    try:
        write_arrays(path, {"keys": keys, "sizes": sizes})
    except OSError as error:  # a read-only dataset: only the next start is slower
        print(f"The image sizes are not kept ({error}): give --index_dir a folder to keep them in.", file=sys.stderr)
