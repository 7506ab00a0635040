"""Official checkpoints -> Paddle files and back, streamed: a tensor, a file, a release folder."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import paddle

from ldm.common.atomic import atomic_path
from ldm.weights.detect import detect_network
from ldm.weights.files import DTYPES, TensorFile, state_entries, write_tensors
from ldm.weights.plan import (
    LAYOUT_KEY,
    PADDLE_LAYOUT,
    check_dtype,
    dropped_keys,
    network_shapes,
    plan_loading,
    release_key_of,
)
from ldm.weights.release import CONFIG, build_unfilled, network_config
from ldm.weights.rules import RULES

UNETS = ("stage_c", "stage_b")
OTHERS = ("stage_a", "effnet", "previewer")
CLIP_FOLDERS = ("text_encoder", "image_encoder", "tokenizer")


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


def convert_one(source, target, kinds, dtype=None, to_release=False, progress=iter) -> str:
    """Convert one file if it holds one of `kinds`; returns the kind. ValueError otherwise."""
    with TensorFile(source) as file:
        kind = detect_network(file)
    if kind not in kinds:
        raise ValueError(f"{source} holds {kind}; this script converts {', '.join(kinds)}.")
    network = build_unfilled(kind, network_config(source, kind), f"{source}: {CONFIG}")
    convert_file(source, target, network, kind, dtype, to_release, progress)
    return kind


def files_of_kinds(folder, kinds) -> list[Path]:
    """The safetensors files of a release folder that hold one of `kinds`; FileNotFoundError if there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is neither a safetensors file nor a folder of them.")
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with TensorFile(path) as file:
            if detect_network(file) in kinds:
                found.append(path)
    if not found:
        raise FileNotFoundError(f"{folder} has no safetensors file of {', '.join(kinds)}.")
    return found


def plan_paths(source, output, kinds) -> list[tuple[Path, Path]]:
    """[(file, where it goes)]: a file to a file or into a folder, a folder to a folder (default: NAME_paddle)."""
    source = Path(source)
    if source.is_file():
        target = Path(output) if output else source.with_name(f"{source.stem}_paddle.safetensors")
        return [(source, target if target.suffix == ".safetensors" else target / source.name)]
    target = Path(output) if output else source.with_name(f"{source.name}_paddle")
    if target.suffix == ".safetensors":
        raise ValueError(f"--output {target} names a file, but the input is a folder: name a folder.")
    return [(path, target / path.name) for path in files_of_kinds(source, kinds)]


def copy_clip_folders(source, target) -> list[str]:
    """Copy the CLIP towers and the tokeniser, which are read in Hugging Face's format as they are."""
    copied = []
    for name in CLIP_FOLDERS:
        folder, destination = Path(source) / name, Path(target) / name
        if folder.is_dir() and folder.resolve() != destination.resolve():
            shutil.copytree(folder, destination, dirs_exist_ok=True, copy_function=_copy)
            copied.append(name)
    return copied


def _copy(source, target):
    """One file, which has its name only when it is complete."""
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
