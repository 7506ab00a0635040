"""CLIP folders for tests: the recorded tiny ones, and what tests do to copies of them."""

import json

import numpy as np
from helpers import REFERENCE
from safetensors.numpy import load_file, save_file

TEXT, VISION = REFERENCE / "clip_text_tiny", REFERENCE / "clip_vision_tiny"


def same(left, right):
    """Whether two tuples of tensors hold equal numbers."""
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(left, right))


def edit_json(path, **changes):
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(folder, change, **metadata):
    """Rewrite model.safetensors with `change` applied to its dictionary of arrays."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path, metadata=metadata or None)
