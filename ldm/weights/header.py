"""The header of a safetensors file, checked before anything is taken from it: others' files are hostile until then."""

import json
import os
import stat
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ldm.common.json_files import unique_keys

BYTES = {
    **{"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1},
}
LARGEST = 32 << 20  # bytes; the format allows three times that, the largest network here has a fifth of a megabyte
MOST_TENSORS, LONGEST_KEY, MOST_AXES = 100_000, 1000, 8
LARGEST_SIDE = 1 << 48  # of a tensor: what numpy can count the bytes of
FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True)
class Header:
    """What a file says of itself: its string map and {key: (dtype, shape, (start, end))}, bytes from `data_start` on."""

    metadata: dict
    tensors: dict
    data_start: int


def open_regular(path: Path):
    """A file open for reading; an OSError that names anything but a regular file. Opened first: it cannot be swapped."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe without a writer would wait for one
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last of these of a name with a zero byte
        raise FileNotFoundError(f"{path} does not exist: check the path, or download or convert it first.") from None
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or device"
        raise OSError(f"{path} is {what}, not a safetensors file: name the file itself.")
    return open(handle, "rb")


def read_header(file, size: int) -> Header:
    """The header of an open file of `size` bytes, where every tensor follows the last. ValueError: what is wrong."""
    if size < 8:
        raise ValueError(f"it has {size} bytes")
    (length,) = struct.unpack("<Q", _read(file, 8))
    if length > LARGEST:
        raise ValueError(f"its header is said to have {length} bytes, at most {LARGEST} are read")
    if length > size - 8:
        raise ValueError(f"its header ends {length + 8 - size} bytes beyond the file's end")
    content = _parsed(_read(file, length))
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata is not a map of texts")
    if len(content) > MOST_TENSORS:
        raise ValueError(f"its header lists {len(content)} tensors, at most {MOST_TENSORS} are read")
    tensors = {key: _checked_entry(key, entry) for key, entry in content.items()}
    _check_places(tensors, size - 8 - length)
    return Header(metadata, tensors, 8 + length)


def _read(file, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise ValueError("it ends within its header")
    return data


def _parsed(data: bytes) -> dict:
    if not data.startswith(b"{"):
        raise ValueError("its header is not JSON")
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError("its header is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is not JSON: {error}") from None
    except UnicodeDecodeError:
        raise ValueError("its header is not UTF-8") from None


def _checked_entry(key: str, entry) -> tuple:
    """(dtype, shape, (start, end)) of one tensor."""
    if len(key) > LONGEST_KEY or not key.isprintable():  # error messages print it
        raise ValueError(f"the key {key!r:.100} is no name of a tensor: at most {LONGEST_KEY} printable characters")
    if not isinstance(entry, dict) or set(entry) != FIELDS or not isinstance(entry["dtype"], str):
        raise ValueError(f"{key:.100} is described as {entry!r:.100}, not by dtype, shape and data_offsets")
    dtype, shape, places = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _counts(shape, MOST_AXES) or prod(max(side, 1) for side in shape) > LARGEST_SIDE:
        raise ValueError(f"{key:.100} has the shape {shape!r:.100}")
    if not _counts(places, 2) or len(places) != 2 or places[0] > places[1]:
        raise ValueError(f"{key:.100} has the data_offsets {places!r:.100}")
    size = prod(shape) * BYTES.get(dtype, 0)
    if dtype in BYTES and size != places[1] - places[0]:
        raise ValueError(f"{key:.100} is {dtype} of shape {shape} and has {places[1] - places[0]} bytes, not {size}")
    if not dtype.isprintable() or len(dtype) > 20:
        raise ValueError(f"{key:.100} is of type {dtype!r:.100}")
    return dtype, tuple(shape), tuple(places)


def _counts(values, most: int) -> bool:
    """Whether `values` is a list of at most `most` integers that can count something."""
    return isinstance(values, list) and len(values) <= most and all(type(v) is int and v >= 0 for v in values)


def _check_places(tensors: dict, size: int):
    """Every byte of the data belongs to one tensor."""
    place = 0
    for key, (_, _, (start, end)) in sorted(tensors.items(), key=lambda item: item[1][2]):
        if start != place:
            raise ValueError(f"{key:.100} begins at byte {start} of the data, the tensor before it ends at {place}")
        place = end
    if place != size:
        raise ValueError(f"its tensors take {place} bytes, and {size} follow the header")
