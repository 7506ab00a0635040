"""The safetensors files of a feature cache: arrays, and metadata with checksums over everything that the file says."""

import hashlib
import json
import os
import zlib
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ldm.common.atomic import atomic_path
from ldm.data.texts import open_regular, printable

LAYOUT = "layout"  # the metadata's key for the hash of names, dtypes, shapes and all other metadata
DTYPES = {"F32": "float32", "F16": "float16"}
REMEDY = "delete it and run scripts/cache_features.py again"


def checksum(arrays: dict) -> int:
    """CRC-32 over {name: array} in the order of the names."""
    value = 0
    for name in sorted(arrays):
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).data, value)
    return value


def layout_of(shapes: dict, metadata: dict) -> str:
    """sha256 of {name: (dtype, shape)} and of the metadata; what the checksums of the data do not cover."""
    named = {name: [dtype, list(shape)] for name, (dtype, shape) in shapes.items()}
    others = {name: text for name, text in metadata.items() if name != LAYOUT}
    return hashlib.sha256(json.dumps([named, others], sort_keys=True).encode()).hexdigest()


def write_cache_file(path: Path, arrays: dict, metadata: dict):
    """Write {name: array} with {name: text}; the file appears when it is complete. OSError says what to do."""
    arrays = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    shapes = {name: (str(values.dtype), values.shape) for name, values in arrays.items()}
    metadata = {**metadata, LAYOUT: layout_of(shapes, metadata)}
    write_atomically(path, lambda temporary: save_file(arrays, temporary, metadata))


def write_atomically(path: Path, write):
    """write(temporary path), then give it its name. OSError names the file and what to do, such as at a full disk."""
    try:
        with atomic_path(path) as temporary:
            write(temporary)
    except (SafetensorError, OSError) as error:
        raise OSError(
            f"{printable(path)} cannot be written ({printable(error)}): make room, or choose another --feature_cache. "
            "What is there stays; started again, only the rest is made."
        ) from error


def open_cache_file(path: Path):
    """(open file, {name: (dtype, shape)}, metadata) of a file of a cache; ValueError if it is damaged anywhere but in its data."""
    try:
        with open_regular(path):  # a pipe of that name would wait for ever
            pass
        file = safe_open(str(path), framework="np").__enter__()
        metadata = file.metadata() or {}
        slices = {name: file.get_slice(name) for name in file.keys()}
        shapes = {name: (DTYPES[part.get_dtype()], tuple(part.get_shape())) for name, part in slices.items()}
    except (SafetensorError, KeyError, OSError) as error:
        raise damaged(path, error) from error
    if LAYOUT in metadata and metadata[LAYOUT] != layout_of(shapes, metadata):
        raise damaged(path, "its header does not fit its checksum")
    return file, shapes, metadata


def damaged(path, why) -> ValueError:
    """The error for a file of a cache that cannot be used."""
    return ValueError(f"{printable(path)} is damaged ({printable(why)}): {REMEDY}.")


def size_and_time(path) -> tuple[int, int]:
    """What tells that a file is being written while it is read; a mapped file that became shorter would end the process."""
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns
