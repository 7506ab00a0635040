"""Small files of numpy arrays that are made again when need be: what was read from many headers, kept for the next start.

They may come with somebody else's dataset. So nothing in them is unpickled, no more memory is taken than the file has
bytes, and dtypes and dimensions are checked; damage is found by the CRC-32 of the zip format, and of all arrays together.
"""

import os
import struct
import zipfile
import zlib

import numpy as np
from numpy.lib import format as npy

from ldm.common.atomic import atomic_path
from ldm.data.texts import open_regular, printable

DAMAGED = (ValueError, KeyError, EOFError, SyntaxError, TypeError, OverflowError, NotImplementedError, RuntimeError)
DAMAGED += (OSError, struct.error, zipfile.BadZipFile, zlib.error, MemoryError)
CHECKSUM = "checksum"  # the array of it
LONGEST_HEADER = 1000  # bytes of an array's dtype and shape


def read_arrays(path, expected: dict) -> dict:
    """{name: array} of a file that `write_arrays` wrote, an empty dict if there is none or one of an earlier version.

    expected: {name: (dtype, dimensions)}. ValueError names the file and the remedy if anything else is in it.
    """
    if not os.path.isfile(path):
        return {}
    try:
        with open_regular(path) as opened, zipfile.ZipFile(opened) as file:
            names = sorted(file.namelist())
            if names == sorted(f"{name}.npy" for name in expected):  # without a checksum
                return {}
            if names != sorted(f"{name}.npy" for name in (*expected, CHECKSUM)):
                raise ValueError(f"it holds {', '.join(names[:8])}")
            arrays = {name: _array(file, name, *wanted) for name, wanted in expected.items()}
            if _array(file, CHECKSUM, np.dtype(np.uint32), 1).tolist() != [_checksum(arrays)]:
                raise ValueError("its arrays do not have its checksum")
            return arrays
    except DAMAGED as error:
        raise damaged(path, error) from error


def damaged(path, why) -> ValueError:
    """The error for a kept file that cannot be used."""
    return ValueError(f"{printable(path)} is damaged ({printable(why)}): delete it, it is made again.")


def _array(file: zipfile.ZipFile, name: str, dtype, dimensions: int) -> np.ndarray:
    info = file.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{name} is compressed")
    with file.open(info) as member:
        version = npy.read_magic(member)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, found = read(member, max_header_size=LONGEST_HEADER)
        start = member.tell()
        if found != dtype or fortran or len(shape) != dimensions:
            raise ValueError(f"{name} is {found} of shape {shape}")
        data = member.read()  # to its end, which compares the CRC-32
    if len(data) != info.file_size - start or len(data) != int(np.prod(shape, dtype=object)) * found.itemsize:
        raise ValueError(f"{name} has {len(data)} bytes for the shape {shape}")
    return np.frombuffer(data, found).reshape(shape)


def write_arrays(path, arrays: dict):
    """Keep {name: array} at `path`, with their checksum. OSError where that is not possible."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays, **{CHECKSUM: np.array([_checksum(arrays)], np.uint32)})


def _checksum(arrays: dict) -> int:
    """Of the arrays together: the zip format's are of each alone, and right again in a file of other tools' making."""
    value = 0
    for name in sorted(arrays):
        described = f"{name} {arrays[name].dtype.str} {arrays[name].shape}".encode()
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).tobytes(), zlib.crc32(described, value))
    return value
