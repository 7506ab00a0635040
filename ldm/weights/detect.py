"""Which version of a network a checkpoint holds, told from its shapes and metadata alone."""

import json

from ldm.weights.convert import is_paddle_layout
from ldm.weights.files import TensorFile

TELLING_KEYS = {  # key, axis of its official (out, in) shape, what the side says
    "stage_c": ("clip_txt_mapper.weight", 0, {1536: "1B", 2048: "3.6B"}),
    "stage_b": ("down_blocks.1.0.channelwise.0.weight", 1, {576: "700M", 640: "3B"}),
}


def stored_config(file: TensorFile):
    """Constructor arguments recorded in the metadata, or None: official files have none."""
    if "config" not in file.metadata:
        return None
    try:
        config = json.loads(file.metadata["config"])
    except json.JSONDecodeError as error:
        raise ValueError(f"{file.path}: the metadata's 'config' is not JSON ({error}).") from error
    if not isinstance(config, dict):
        raise ValueError(f"{file.path}: the metadata's 'config' must be an object of constructor arguments.")
    return config


def detect_version(file: TensorFile, network: str):
    """The version ("1B", "700M", ...) of a Stage B or C file, or None for a size that was never released.

    ValueError if the file is not that network at all.
    """
    key, _, _ = TELLING_KEYS[network]
    if len(file.shapes.get(key, ())) != 2:
        raise ValueError(f"{file.path} is not a {network} checkpoint: it has no matrix {key!r}.")
    return version_of_shapes(file.shapes, network, is_paddle_layout(file))


def version_of_shapes(shapes: dict, network: str, paddle_layout: bool):
    """The version that {key: shape} shows, or None for a size that was never released."""
    key, axis, versions = TELLING_KEYS[network]
    shape = shapes.get(key, ())
    return versions.get(shape[1 - axis] if paddle_layout else shape[axis]) if len(shape) == 2 else None


def detect_network(file: TensorFile):
    """Which network a file holds: "stage_c", "stage_b", "stage_a", "previewer" or "effnet"; ValueError otherwise."""
    telling = {
        "clip_txt_mapper.weight": "stage_c",
        "effnet_mapper.0.weight": "stage_b",
        "vquantizer.codebook.weight": "stage_a",
        "backbone.0.0.weight": "effnet",
        "blocks.0.weight": "previewer",
    }
    for key, network in telling.items():
        if key in file.shapes:
            return network
    raise ValueError(
        f"{file.path} holds none of the cascade's networks; its first keys: {list(file.keys())[:4]}. Give a file of the "
        "release, or one that scripts/extract_unet_weights.py wrote without --lora."
    )
