"""Weights files with numbers in them that no training leaves there: written over in place, as a damaged disk would."""

import json
import shutil
import struct

import numpy as np

KINDS = {"NaN": np.nan, "infinity": np.inf, "huge": 1e30, "zeros": 0.0}


def spoil(path, key: str, value, every: bool = False):
    """Write `value` over the first number of a tensor of a safetensors file, or over every one."""
    with open(path, "r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        entry = json.loads(file.read(length))[key]
        first, last = entry["data_offsets"]
        dtype = {"F32": np.float32, "F16": np.float16}.get(entry["dtype"])
        with np.errstate(over="ignore"):
            number = np.array(value, dtype or np.float32)
        raw = number.tobytes() if dtype else number.tobytes()[2:]  # bfloat16: the upper half
        file.seek(8 + length + first)
        file.write(raw * ((last - first) // len(raw) if every else 1))


def spoiled_release(release, folder, name: str, key: str, value, every: bool = False):
    """A copy of a release folder, links but for the file `name`, in which `value` is written over a tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in release.iterdir():
        if part.name != name.split("/")[0]:
            (folder / part.name).symlink_to(part.resolve())
    if "/" in name:
        shutil.copytree(release / name.split("/")[0], folder / name.split("/")[0])
    else:
        shutil.copyfile(release / name, folder / name)
    spoil(folder / name, key, value, every)
    return folder
