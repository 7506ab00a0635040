"""Safetensors files: validated opening, one tensor at a time in and out."""

import json
import struct
from pathlib import Path

import numpy as np
import paddle
from safetensors import SafetensorError, safe_open

from ldm.atomic import atomic_path

DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64", "I64": "int64", "I32": "int32"}
NAMES = {ours: theirs for theirs, ours in DTYPES.items()}
BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2}
FLOAT_DTYPES = ("float32", "float16", "bfloat16")


class TensorFile:
    """A safetensors file read one tensor at a time. Use as a context manager.

    `shapes` and `dtypes` come from the header; `metadata` is its string map. Keys under a `state_dict.` prefix,
    as some checkpoints wrap their weights, are seen without it.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} does not exist: check the path, or download or convert it first.")
        try:
            self._file = safe_open(str(self.path), framework="paddle")
        except SafetensorError as error:
            raise ValueError(
                f"{self.path} is not a complete safetensors file ({error}): download or write it again."
            ) from error
        self.metadata = dict(self._file.metadata() or {})
        stored = list(self._file.keys())
        wrapped = bool(stored) and all(key.startswith("state_dict.") for key in stored)
        self._stored_key = {key.removeprefix("state_dict.") if wrapped else key: key for key in stored}
        slices = {key: self._file.get_slice(stored_key) for key, stored_key in self._stored_key.items()}
        self.shapes = {key: tuple(s.get_shape()) for key, s in slices.items()}
        self.dtypes = {key: s.get_dtype() for key, s in slices.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.__exit__(None, None, None)

    def keys(self):
        return self.shapes.keys()

    def read(self, key) -> paddle.Tensor:
        """One tensor, on the CPU, in the file's dtype: a copy, since the package hands out views of the mapped file,
        which training would write to and which must not outlive it."""
        return self._file.get_tensor(self._stored_key[key]).clone()

    def read_numpy(self, key) -> np.ndarray:
        """One tensor as numpy; bfloat16, which numpy lacks, comes as float32."""
        tensor = self.read(key)
        return (tensor.astype("float32") if tensor.dtype == paddle.bfloat16 else tensor).numpy()


def write_tensors(path, entries, metadata: dict):
    """Write a safetensors file from `entries`: (key, dtype name, shape, function returning the tensor), one at a time.

    The package writes only whole dictionaries; a 14 GB checkpoint must not have to fit in memory twice. The file
    appears under its name only when complete. Tensors may be numpy or Paddle; they are cast to the entry's dtype.
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
        for key, dtype, shape, load in entries:
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
