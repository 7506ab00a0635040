"""Official checkpoint -> Paddle file and back, streamed."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import paddle

from ldm.weights.files import DTYPES, FLOAT_DTYPES, TensorFile, state_entries, write_tensors
from ldm.weights.plan import WeightsMismatch, check_same_shapes, dropped_keys, plan_conversion, release_key_of
from ldm.weights.rules import RULES, Layout

LAYOUT_KEY, PADDLE_LAYOUT = "layout", "paddle"
STORED_FLOATS = (*FLOAT_DTYPES, "float64")


def network_shapes(network: paddle.nn.Layer) -> dict:
    """{key: shape} of a network's state dict; works on one built inside `paddle.LazyGuard()`."""
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def release_shapes(network: paddle.nn.Layer, name: str) -> dict:
    """{release key: release shape} of a network, batch counters included."""
    shapes = {}
    for key, shape in network_shapes(network).items():
        release_key, rule = release_key_of(RULES[name], key)
        shapes[release_key] = rule.layout.shape_to_release(shape)
    return shapes | {key: () for key in dropped_keys(RULES[name], shapes)}


def is_paddle_layout(file: TensorFile) -> bool:
    """Whether a file was written by us (metadata says so); a file that says nothing is taken as the official layout."""
    layout = file.metadata.get(LAYOUT_KEY, PADDLE_LAYOUT)
    if layout != PADDLE_LAYOUT:
        raise ValueError(
            f"{file.path}: the metadata's {LAYOUT_KEY!r} is {layout!r:.100}, known is {PADDLE_LAYOUT!r}; the official "
            "layout has none."
        )
    return LAYOUT_KEY in file.metadata


def plan_loading(file: TensorFile, network: paddle.nn.Layer, name: str) -> list:
    """[(our key, file's key, layout)] for a file of either layout; WeightsMismatch lists every problem."""
    targets = network_shapes(network)
    if is_paddle_layout(file):
        check_same_shapes(file.shapes, targets, str(file.path))
        plan = [(key, key, Layout.SAME) for key in targets]
    else:
        moves = plan_conversion(file.shapes, targets, RULES[name], str(file.path))
        plan = [(move.paddle_key, move.release_key, move.rule.layout) for move in moves]
    check_float(file, [theirs for _, theirs, _ in plan])
    return plan


def check_float(file: TensorFile, keys):
    """WeightsMismatch if any of these tensors is stored as anything but numbers that weights can be."""
    others = [f"{key} ({file.dtypes[key]})" for key in keys if DTYPES.get(file.dtypes[key]) not in STORED_FLOATS]
    if others:
        rest = f" and {len(others) - 8} more" if len(others) > 8 else ""
        raise WeightsMismatch(
            f"{file.path} has {len(others)} tensors of a type that weights do not have here: {', '.join(others[:8])}{rest}. "
            f"Known are {', '.join(STORED_FLOATS)}: convert it with the program that wrote it."
        )


def check_dtype(dtype: str):
    """ValueError unless `dtype` is one that weights can have."""
    if dtype not in FLOAT_DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}: choose one of {', '.join(FLOAT_DTYPES)}.")


def convert_file(
    source, target, network: paddle.nn.Layer, name: str, dtype=None, to_release=False, progress=iter, change=None
):
    """Write `source` (either layout) to `target` in Paddle's layout, or in the official one with `to_release`.

    `network` may be lazily built: only its shapes are used. `dtype` None keeps the file's. `progress` wraps the list
    of tensors (tqdm). Constructor settings stored in the metadata are kept. change(our key, our tensor): the tensor to
    write in its place.
    """
    if dtype is not None:
        check_dtype(dtype)
    if Path(source).resolve() == Path(target).resolve():
        raise ValueError(f"{target}: source and target are the same file; give another --output.")
    with TensorFile(source) as file:
        shapes = network_shapes(network)
        entries = [
            (
                ours,
                _target_dtype(file.dtypes[theirs], dtype),
                shapes[ours],
                _then(layout.to_paddle, partial(file.read, theirs)),
            )
            for ours, theirs, layout in plan_loading(file, network, name)
        ]
        if change is not None:
            entries = [(key, *rest, _then(partial(change, key), load)) for key, *rest, load in entries]
        metadata = {key: value for key, value in file.metadata.items() if key != LAYOUT_KEY}
        _write(target, entries, name, metadata, to_release, progress)


def save_weights(network: paddle.nn.Layer, path, name: str, dtype: str = "float32", config=None, to_release=False):
    """Write a network's weights to one safetensors file, Paddle's layout or the official one.

    `config`: constructor settings to store in the metadata, so that the file says what it is.
    """
    write_state(network.state_dict(), path, name, dtype, config, to_release=to_release)


def write_state(state: dict, path, name: str, dtype: str = "float32", config=None, extra=None, to_release=False):
    """`save_weights` for a state dict {our key: tensor}; `extra`: more metadata."""
    check_dtype(dtype)
    metadata = (extra or {}) | ({"config": json.dumps(config)} if config is not None else {})
    _write(path, state_entries(state, dtype), name, metadata, to_release)


def _write(path, entries, name: str, metadata: dict, to_release: bool, progress=iter):
    """Write entries (our key, dtype, our shape, function returning our tensor) in either layout."""
    metadata = metadata | {"network": name}
    if to_release:
        entries = _release_entries(entries, RULES[name])
    else:
        metadata[LAYOUT_KEY] = PADDLE_LAYOUT
    write_tensors(path, entries, metadata, progress)


def _release_entries(entries, rules) -> list:
    """The same entries under the release's keys and in its layout, batch counters restored."""
    converted = []
    for key, dtype, shape, load in entries:
        release_key, rule = release_key_of(rules, key)
        load = _then(rule.layout.to_release, load)
        converted.append((release_key, dtype, rule.layout.shape_to_release(shape), load))
    counters = dropped_keys(rules, [key for key, *_ in converted])
    return converted + [(key, "int64", (), partial(np.zeros, (), np.int64)) for key in counters]


def _then(convert, load):
    """Load, then convert, when called."""
    return lambda: convert(load())


def _target_dtype(stored: str, dtype):
    return dtype if dtype is not None else DTYPES[stored]
