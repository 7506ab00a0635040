"""A quick answer to "are these the same weights?", without reading all of them."""

import hashlib
from math import prod

import numpy as np
import paddle

from ldm.weights.files import TensorFile
from ldm.weights.plan import plan_loading
from ldm.weights.rules import Layout

SAMPLE = 64  # values of each tensor that are looked at
PRECISIONS = ("float32", "float16", "bfloat16")


def state_fingerprint(state: dict) -> str:
    """sha256 over every key, every shape and the first values of every tensor of {key: tensor}, as float32.

    A step of training moves all of them; the same weights in another precision have another fingerprint.
    """
    return fingerprint_in(heads_of_state(state), "float32")


def fingerprint_in(heads: dict, precision: str) -> str:
    """The fingerprint that {key: (shape, first values)} have once they are stored in `precision`.

    Two files hold the same weights, perhaps in two precisions, where one of these of the one is one of the other's.
    """
    digest = hashlib.sha256()
    for key in sorted(heads):
        shape, values = heads[key]
        digest.update(f"{key} {shape}\n".encode())
        digest.update(_rounded(values, precision).tobytes())
    return digest.hexdigest()


@paddle.no_grad()
def heads_of_state(state: dict) -> dict:
    """{key: (shape, first values as float32)} of {key: tensor}."""
    heads = {}
    for key, tensor in state.items():
        head = tensor[:1] if tensor.ndim else tensor  # before flattening, which copies
        heads[key] = tuple(tensor.shape), head.flatten()[:SAMPLE].astype("float32").numpy()
    return heads


def heads_of_file(path, network: paddle.nn.Layer, name: str) -> dict:
    """The same of a file of either layout for `network`, of which only the shapes are used. No tensor is read in full."""
    with TensorFile(path) as file:
        shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        return {
            ours: (shapes[ours], _head(file, theirs, layout))
            for ours, theirs, layout in plan_loading(file, network, name)
        }


def _head(file: TensorFile, key: str, layout: Layout) -> np.ndarray:
    """The first values of our tensor: of a transposed one they are the file's first column."""
    shape = file.shapes[key]
    if layout in (Layout.LINEAR, Layout.CONV1X1):
        return file.read_some(key, min(SAMPLE, shape[0]), apart=prod(shape[1:]))
    return file.read_some(key, min(SAMPLE, prod(shape[1:]) if shape and shape[0] else prod(shape)))


def _rounded(values: np.ndarray, precision: str) -> np.ndarray:
    """float32 values as they come back from a file in `precision`: to the nearest, ties to even."""
    if precision == "float16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    if precision == "bfloat16":
        bits = values.view(np.uint32)
        return (bits + (0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return values
