"""Safetensors files: validated opening, one tensor at a time in and out."""

import errno
import json
import os
import struct
from pathlib import Path

import numpy as np
import paddle

from ldm.common.atomic import atomic_path
from ldm.weights.finite import all_finite
from ldm.weights.header import BYTES, open_regular, read_header

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64", "I32": "int32"}
NAMES = {ours: theirs for theirs, ours in DTYPES.items()}
SAME_BITS = {"U16": "BF16"}  # how PaddleNLP's own saves write bfloat16
FLOAT_DTYPES = ("float32", "float16", "bfloat16")
LARGEST_VALUE = {"float16": 65504.0, "bfloat16": 3.3895e38, "float32": 3.4028e38}

# Read at once: what stays in a core's cache, and enough rows that a transposed one is written by whole cache lines
BLOCK, ROWS = 1 << 18, 256
GAP = 32  # elements between rows that are read column by column: see `_padded_rows`


class TensorFile:
    """A safetensors file read one tensor at a time. Use as a context manager.

    `shapes` and `dtypes` come from the header; `metadata` is its string map. Keys under a `state_dict.` prefix,
    as some checkpoints wrap their weights, are seen without it.

    The data is read with plain file reads. Tensors from the package are views of the mapped file: training would write
    to them, they must not outlive it, and every page once read counts as memory of this process, a whole checkpoint in
    the end. Nothing in the header is believed before it is checked: see `ldm.weights.header`.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._file = open_regular(self.path)
        try:
            status = os.fstat(self._file.fileno())
            header = read_header(self._file, status.st_size)
        except ValueError as error:
            self._file.close()
            raise ValueError(
                f"{self.path} is not a complete safetensors file ({error}): download or write it again."
            ) from error
        self.stamp = stamp(status)
        self.metadata, self._data_start, tensors = header.metadata, header.data_start, header.tensors
        if tensors and all(key.startswith("state_dict.") for key in tensors):
            tensors = {key.removeprefix("state_dict."): entry for key, entry in tensors.items()}
        self.dtypes = {key: SAME_BITS.get(dtype, dtype) for key, (dtype, _, _) in tensors.items()}
        self.shapes = {key: shape for key, (_, shape, _) in tensors.items()}
        self._offsets = {key: offsets for key, (_, _, offsets) in tensors.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._file.close()

    def keys(self):
        return self.shapes.keys()

    def check_unchanged(self):
        """ValueError if the file was written to since it was opened: what has been read may be half of either state."""
        if stamp(os.fstat(self._file.fileno())) != self.stamp:
            raise ValueError(f"{self.path} was changed while it was read: wait until it is complete, and start again.")

    def read(self, key) -> paddle.Tensor:
        """One tensor, on the CPU, in the file's dtype."""
        return paddle.to_tensor(self._read_raw(key), place=paddle.CPUPlace())  # uint16 becomes bfloat16

    def prefetch(self, key):
        """Have the system read a tensor ahead."""
        start, end = self._offsets[key]
        if hasattr(os, "posix_fadvise"):  # Linux
            os.posix_fadvise(self._file.fileno(), self._data_start + start, end - start, os.POSIX_FADV_WILLNEED)

    def read_into(self, key, values):
        """Read one tensor as float32 into `values`, a float32 array of its shape with any strides.

        Some rows at a time, which are in the cache until they are in their place: no memory but `values` is needed.
        Several threads may do so at the same time.
        """
        start, end = self._offsets[key]
        dtype, shape = self._stored_dtype(key), self.shapes[key] or (1,)
        values = values.reshape(shape)
        row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        if row_bytes * shape[0] != end - start:
            raise self._cut_off(key)
        rows = max(ROWS, BLOCK // max(row_bytes, 1))
        for first in range(0, shape[0], rows):
            part = values[first : first + rows]
            in_place = dtype == np.float32 and part.flags.c_contiguous
            raw = part if in_place else np.empty(part.shape, dtype)
            self._fill(key, raw, first * row_bytes)
            if not part.flags.c_contiguous:
                raw = _padded_rows(raw)
            # Where they disagree, numpy's inner loop takes the last axis: let it be the one of neighbours in `values`
            part, raw = part.T, raw.T
            if self.dtypes[key] == "BF16":
                np.left_shift(raw, 16, out=part.view(np.uint32), dtype=np.uint32)
            elif not in_place:
                np.copyto(part, raw, casting="same_kind")

    def read_numpy(self, key) -> np.ndarray:
        """One tensor as numpy; bfloat16, which numpy lacks, comes as float32."""
        return _widened(self._read_raw(key), self.dtypes[key])

    def read_some(self, key, count: int, apart: int = 1) -> np.ndarray:
        """(count,) float32 of one tensor: its first values, or every `apart`-th of them."""
        raw = np.empty(count, self._stored_dtype(key))
        for index in range(count if apart > 1 else 1):
            self._fill(key, raw[index : index + 1] if apart > 1 else raw, index * apart * raw.itemsize)
        return _widened(raw, self.dtypes[key]).astype(np.float32)

    def pieces(self, key):
        """The stored values of one tensor, flat, BLOCK at a time; the bits of bfloat16 as uint16. No piece outlives the next."""
        (start, end), dtype = self._offsets[key], self._stored_dtype(key)
        room = np.empty(min(BLOCK, (end - start) // dtype.itemsize), dtype)
        for first in range(start, end, room.nbytes or 1):
            piece = room[: (end - first) // dtype.itemsize]
            self._fill(key, piece, first - start)
            yield piece

    def _read_raw(self, key) -> np.ndarray:
        """The stored values; the bits of bfloat16 as uint16."""
        values = np.empty(self.shapes[key], self._stored_dtype(key))
        start, end = self._offsets[key]
        if values.nbytes != end - start:
            raise self._cut_off(key)
        self._fill(key, values)
        return values

    def _fill(self, key, values, skipped: int = 0):
        """Read stored values of `key`, beyond its first `skipped` bytes, into a contiguous array."""
        where, left = self._data_start + self._offsets[key][0] + skipped, values.reshape(-1).view(np.uint8)
        while left.size:  # a network's file system may give less at a time than it was asked for
            try:
                done = os.preadv(self._file.fileno(), [left], where)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror} while {key} was read", str(self.path)) from error
            if done == 0:
                raise self._cut_off(key)
            where, left = where + done, left[done:]

    def _stored_dtype(self, key) -> np.dtype:
        """How numpy sees the stored values of `key`."""
        stored = self.dtypes[key]
        if stored not in DTYPES:
            raise ValueError(f"{self.path}: {key} is of type {stored}, known are {', '.join(DTYPES)}.")
        return np.dtype(np.uint16 if stored == "BF16" else DTYPES[stored])

    def _cut_off(self, key) -> ValueError:
        return ValueError(f"{self.path} ends within {key}: download or write it again.")


def stamp(status: os.stat_result) -> tuple:
    """What another file in its place, or writing to it, changes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _widened(raw: np.ndarray, stored: str) -> np.ndarray:
    """Stored values as numpy computes with them: bfloat16's bits become float32."""
    if stored != "BF16":
        return raw
    return (raw.reshape(-1).astype(np.uint32) << 16).view(np.float32).reshape(raw.shape)


def _padded_rows(rows: np.ndarray) -> np.ndarray:
    """A copy whose rows do not start a power of two apart: reading a column of such rows evicts its own cache lines."""
    length = rows[0].size
    room = np.empty((len(rows), length + GAP), rows.dtype)[:, :length].reshape(rows.shape)
    room[...] = rows
    return room


def state_entries(state: dict, dtype: str) -> list:
    """{key: tensor} as the entries of `write_tensors`."""
    return [(key, dtype, tuple(tensor.shape), lambda tensor=tensor: tensor) for key, tensor in state.items()]


def write_tensors(path, entries, metadata: dict, progress=iter, allow_non_finite: bool = False):
    """Write a safetensors file from `entries`: (key, dtype name, shape, function returning the tensor), one at a time.

    The package writes only whole dictionaries; a 14 GB checkpoint must not have to fit in memory twice. The file
    appears under its name only when complete. Tensors may be numpy or Paddle; they are cast to the entry's dtype.
    `progress` wraps the entries while they are written (tqdm). ValueError, and what was there stays, for a tensor that
    holds NaN or infinity, or would in its new dtype; allow_non_finite: for what is kept as evidence.
    """
    header, offset = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, 0
    for key, dtype, shape, _ in entries:
        size = int(np.prod(shape, dtype=np.int64)) * BYTES[NAMES[dtype]]
        header[key] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the format aligns data to 8 bytes
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as out:
            out.write(struct.pack("<Q", len(encoded)))
            out.write(encoded)
            for key, dtype, shape, load in progress(entries):
                tensor = load()
                if tuple(tensor.shape) != tuple(shape):
                    raise ValueError(f"{key}: announced {tuple(shape)}, got {tuple(tensor.shape)}.")
                stored = _stored(tensor, dtype)
                if not allow_non_finite and not all_finite(stored):
                    raise _not_finite(path, key, tensor, dtype)
                out.write(stored.data)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        why = f"{error.strerror}: {path} takes {(8 + len(encoded) + offset) / 1e9:.3g} GB; make room or write elsewhere"
        raise OSError(f"{why}. Nothing was changed.") from error


def _stored(tensor, dtype: str) -> np.ndarray:
    """The values as they are stored, in one piece; the bits of bfloat16 as uint16."""
    if dtype == "float16" and isinstance(tensor, paddle.Tensor):  # Paddle 3.3.1 makes 1e-4 of 3e-24 on a CPU
        tensor = tensor.astype("float32").numpy()
    if isinstance(tensor, np.ndarray) and dtype != "bfloat16":
        with np.errstate(over="ignore"):  # refused with a better message
            return np.ascontiguousarray(tensor, dtype=dtype)
    tensor = (
        tensor if isinstance(tensor, paddle.Tensor) else paddle.to_tensor(np.ascontiguousarray(tensor), place="cpu")
    )
    return np.ascontiguousarray(tensor.astype(dtype).numpy())  # Paddle hands bfloat16 to numpy as its bits


def _not_finite(path, key: str, tensor, dtype: str) -> ValueError:
    """Why a tensor that is not finite in `dtype` is not written."""
    values = _stored(tensor, "float64")
    if not all_finite(values):
        return ValueError(
            f"{path} is not written: {key} holds NaN or infinity. Take weights from before that, an earlier checkpoint "
            "or the file they were made from."
        )
    return ValueError(
        f"{path} is not written: {key} reaches {np.abs(values).max():.4g}, and {dtype} ends at {LARGEST_VALUE[dtype]:g}. "
        f"Choose a dtype that holds it."
    )
