"""Safetensors files: validated opening, one tensor at a time in and out."""

import json
import struct
from functools import partial
from pathlib import Path

import numpy as np
import paddle
from safetensors import SafetensorError, safe_open

from ldm.atomic import atomic_path

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64", "I32": "int32"}
NAMES = {ours: theirs for theirs, ours in DTYPES.items()}
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}
SAME_BITS = {"U16": "BF16"}  # how PaddleNLP's own saves write bfloat16
FLOAT_DTYPES = ("float32", "float16", "bfloat16")


class TensorFile:
    """A safetensors file read one tensor at a time. Use as a context manager.

    `shapes` and `dtypes` come from the header; `metadata` is its string map. Keys under a `state_dict.` prefix,
    as some checkpoints wrap their weights, are seen without it.

    The package checks the header; the data is read with plain file reads. Tensors from the package are views of the
    mapped file: training would write to them, they must not outlive it, and every page once read counts as memory of
    this process, a whole checkpoint in the end.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} does not exist: check the path, or download or convert it first.")
        try:
            with safe_open(str(self.path), framework="np") as checked:
                self.metadata = dict(checked.metadata() or {})
        except SafetensorError as error:
            raise ValueError(
                f"{self.path} is not a complete safetensors file ({error}): download or write it again."
            ) from error
        self._file = open(self.path, "rb")
        length = struct.unpack("<Q", self._file.read(8))[0]
        header = json.loads(self._file.read(length))
        header.pop("__metadata__", None)
        self._data_start = 8 + length
        if header and all(key.startswith("state_dict.") for key in header):
            header = {key.removeprefix("state_dict."): entry for key, entry in header.items()}
        self._offsets = {key: entry["data_offsets"] for key, entry in header.items()}
        self.shapes = {key: tuple(entry["shape"]) for key, entry in header.items()}
        self.dtypes = {key: SAME_BITS.get(entry["dtype"], entry["dtype"]) for key, entry in header.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def keys(self):
        return self.shapes.keys()

    def read(self, key) -> paddle.Tensor:
        """One tensor, on the CPU, in the file's dtype."""
        return paddle.to_tensor(self._read_raw(key), place=paddle.CPUPlace())  # uint16 becomes bfloat16

    def read_each(self, keys):
        """The tensors of `keys` in turn, as float32 on the CPU.

        Each lies in memory that the next one is written to: what is kept of it must be a copy. A network of many
        gigabytes leaves no holes in the process's memory that way.
        """
        room = np.empty(max((self._offsets[key][1] - self._offsets[key][0] for key in keys), default=0), np.uint8)
        narrow = [int(np.prod(self.shapes[key], dtype=np.int64)) for key in keys if self.dtypes[key] != "F32"]
        wide = np.empty(max(narrow, default=0), np.float32)
        for key in keys:
            raw = self._fill(key, self._room(key, room))
            yield paddle.from_dlpack(self._widened(key, raw, wide))

    def _widened(self, key, raw, room) -> np.ndarray:
        """Stored values as float32, in `room` unless they are that already."""
        if self.dtypes[key] == "F32":
            return raw
        values = room[: raw.size].reshape(raw.shape)
        if self.dtypes[key] == "BF16":
            np.left_shift(raw, 16, out=values.view(np.uint32), dtype=np.uint32)
        else:
            np.copyto(values, raw, casting="same_kind")
        return values

    def read_numpy(self, key) -> np.ndarray:
        """One tensor as numpy; bfloat16, which numpy lacks, comes as float32."""
        raw = self._read_raw(key)
        return (raw.astype(np.uint32) << 16).view(np.float32) if self.dtypes[key] == "BF16" else raw

    def _read_raw(self, key) -> np.ndarray:
        """The stored values; the bits of bfloat16 as uint16."""
        return self._fill(key, self._room(key))

    def _room(self, key, within=None) -> np.ndarray:
        """An array for the stored values of `key`, at the beginning of the bytes `within` or anew."""
        stored = self.dtypes[key]
        if stored not in DTYPES:
            raise ValueError(f"{self.path}: {key} is of type {stored}, known are {', '.join(DTYPES)}.")
        shape, dtype = self.shapes[key], np.dtype(np.uint16 if stored == "BF16" else DTYPES[stored])
        if within is None:
            return np.empty(shape, dtype)
        size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
        if size > len(within):  # the header contradicts itself
            raise ValueError(f"{self.path} has no room for {key}: download or write it again.")
        return within[:size].view(dtype).reshape(shape)

    def _fill(self, key, values) -> np.ndarray:
        """Read `key` into `values`."""
        start, end = self._offsets[key]
        self._file.seek(self._data_start + start)
        if values.nbytes != end - start or self._file.readinto(values.reshape(-1).view(np.uint8)) != values.nbytes:
            raise ValueError(f"{self.path} ends within {key}: download or write it again.")
        return values


def state_entries(state: dict, dtype: str) -> list:
    """{key: tensor} as the entries of `write_tensors`."""
    return [(key, dtype, tuple(tensor.shape), partial(_itself, tensor)) for key, tensor in state.items()]


def _itself(tensor):
    return tensor


def write_tensors(path, entries, metadata: dict, progress=iter):
    """Write a safetensors file from `entries`: (key, dtype name, shape, function returning the tensor), one at a time.

    The package writes only whole dictionaries; a 14 GB checkpoint must not have to fit in memory twice. The file
    appears under its name only when complete. Tensors may be numpy or Paddle; they are cast to the entry's dtype.
    `progress` wraps the entries while they are written (tqdm).
    """
    header, offset = {"__metadata__": {k: str(v) for k, v in metadata.items()}}, 0
    for key, dtype, shape, _ in entries:
        size = int(np.prod(shape, dtype=np.int64)) * BYTES[NAMES[dtype]]
        header[key] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the format aligns data to 8 bytes
    with atomic_path(path) as temporary, open(temporary, "wb") as out:
        out.write(struct.pack("<Q", len(encoded)))
        out.write(encoded)
        for key, dtype, shape, load in progress(entries):
            tensor = load()
            if tuple(tensor.shape) != tuple(shape):
                raise ValueError(f"{key}: announced {tuple(shape)}, got {tuple(tensor.shape)}.")
            out.write(_raw_bytes(tensor, dtype))


def _raw_bytes(tensor, dtype: str):
    if isinstance(tensor, np.ndarray) and dtype != "bfloat16":
        return np.ascontiguousarray(tensor, dtype=dtype).data
    tensor = (
        tensor if isinstance(tensor, paddle.Tensor) else paddle.to_tensor(np.ascontiguousarray(tensor), place="cpu")
    )
    array = tensor.astype(dtype).numpy()  # Paddle hands bfloat16 to numpy as its bit pattern, uint16
    return np.ascontiguousarray(array).data
