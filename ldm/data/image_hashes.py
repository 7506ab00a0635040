"""What a dataset's images and captions are, by their content: every image is hashed, by as many processes as there are cores.

--trust_mtime takes the hash of a file that has not changed (ldm/data/sources/files.py) from FOLDER/image_hashes.npz, which
scripts/cache_features.py writes.
"""

import hashlib
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Optional

import numpy as np
from tqdm.auto import tqdm

from ldm.common.hashing import sha256_of_open
from ldm.data.feature_cache import Source
from ldm.data.kept_arrays import damaged, read_arrays, write_arrays
from ldm.data.processes import in_processes
from ldm.data.sources.files import stamp_key
from ldm.data.sources.source import ImageSource

FILE = "image_hashes.npz"
ARRAYS = {"keys": (np.dtype(np.uint64), 1), "hashes": (np.dtype(np.uint8), 2)}
TOGETHER = 64  # images that a process hashes before it tells


class KeptHashes:
    """sha256 of images by their stamp_key. path: the file, or None for none kept."""

    def __init__(self, path: Optional[Path] = None):
        self.keys, self.hashes = np.empty(0, np.uint64), np.empty((0, 32), np.uint8)
        arrays = read_arrays(path, ARRAYS) if path else {}
        if arrays:
            self.keys, self.hashes = arrays["keys"], arrays["hashes"]
            if self.hashes.shape != (len(self.keys), 32) or (self.keys[1:] <= self.keys[:-1]).any():
                raise damaged(path, "its keys do not ascend or are not as many as its hashes")

    def get(self, key: int) -> Optional[str]:
        """The hash in hexadecimal digits, None if there is none."""
        place = int(np.searchsorted(self.keys, np.uint64(key)))
        return self.hashes[place].tobytes().hex() if place < len(self.keys) and self.keys[place] == key else None

    def keep(self, path: Path, keys: list[int], hashes: list[str]):
        """Write these and those known before."""
        keys = np.concatenate([np.array(keys, np.uint64), self.keys])
        new = np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, 32)
        keys, first = np.unique(keys, return_index=True)
        write_arrays(path, {"keys": keys, "hashes": np.concatenate([new, self.hashes])[first]})


def hash_images(source: ImageSource, kept: KeptHashes, description: str) -> tuple[list[Source], list[int], int]:
    """(Source of every image, its stamp_key, how many were hashed and not taken from `kept`)."""
    sources, keys, hashed = [], [], 0
    starts = range(0, len(source), TOGETHER)
    with closing(in_processes(partial(_hash_some, source, kept), starts)) as parts:
        for part in tqdm(parts, description, len(starts), leave=False, disable=len(starts) < 8):
            sources += part[0]
            keys += part[1]
            hashed += part[2]
    return sources, keys, hashed


def _hash_some(source: ImageSource, kept: KeptHashes, start: int) -> tuple[list[Source], list[int], int]:
    sources, keys, hashed = [], [], 0
    for index in range(start, min(start + TOGETHER, len(source))):
        name, stamp = source.name(index), source.stamp(index)  # before it is read: a later change has another stamp
        keys.append(stamp_key(name, stamp))
        image = kept.get(keys[-1])
        if image is None:
            hashed += 1
            with source.open(index) as file:
                image = sha256_of_open(file)
        key = hashlib.sha256(f"{image} {source.caption(index)}".encode()).hexdigest()
        sources.append(Source(key, name, image, *stamp[:2]))
    return sources, keys, hashed
