"""Small rule-filled checkpoints in the official format, one per network, and what tests do to them."""

import json

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ldm.demo.rule_release import write_rule_network
from ldm.weights.release import build_unfilled

CONFIGS = {
    "stage_c": dict(
        c_cond=32, c_hidden=[16, 32], nhead=[2, 2], blocks=[[1, 2], [2, 1]], block_repeat=[[1, 2], [2, 1]], c_clip_text=12,
        c_clip_text_pooled=10, c_clip_img=8, switch_level=[True],
    ),
    "stage_b": dict(
        c_cond=32, c_hidden=[8, 16, 16, 16], nhead=[-1, -1, 2, 2], blocks=[[1] * 4, [1] * 4],
        block_repeat=[[1] * 4, [2] * 4], c_clip=12,
    ),
    "stage_a": dict(c_hidden=16, bottleneck_blocks=2, codebook_size=24),
    "previewer": dict(c_hidden=16),
    "effnet": {},
}  # fmt: skip


_written = {}  # kind -> bytes: EfficientNet's 80 MB take a second to fill


def write_official(path, kind):
    """Write the checkpoint of a network in the official layout; returns `path`."""
    if kind not in _written:
        write_rule_network(path, kind, CONFIGS[kind])
        _written[kind] = path.read_bytes()
    path.write_bytes(_written[kind])
    return path


def unfilled(kind):
    return build_unfilled(kind, CONFIGS[kind])


def metadata(path) -> dict:
    with safe_open(path, "np") as file:
        return dict(file.metadata() or {})


def edit(path, change, rename=lambda key: key):
    """Rewrite a file with `change` applied to its dictionary of arrays and `rename` to its keys."""
    tensors, notes = load_file(path), metadata(path)
    change(tensors)
    tensors = {rename(key): np.ascontiguousarray(value) for key, value in tensors.items()}
    save_file(tensors, path, metadata=notes)


def write_header(path, shapes: dict, notes=None, dtype="F16", size=2):
    """A sparse file with a valid header and nothing but holes for data: as large as it says, free of charge."""
    header, offset = {"__metadata__": notes or {}}, 0
    for key, shape in shapes.items():
        end = offset + int(np.prod(shape, dtype=np.int64)) * size
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as out:
        out.write(len(encoded).to_bytes(8, "little") + encoded)
        out.truncate(8 + len(encoded) + offset)
    return path
