"""Which network and version a checkpoint holds, from its shapes and metadata alone."""

from ldm.common.json_files import parse_json
from ldm.weights.files import TensorFile
from ldm.weights.plan import is_paddle_layout
from ldm.weights.rules import RULES

TELLING_KEYS = {  # key, axis of its official (out, in) shape, what the side says
    "stage_c": ("clip_txt_mapper.weight", 0, {1536: "1B", 2048: "3.6B"}),
    "stage_b": ("down_blocks.1.0.channelwise.0.weight", 1, {576: "700M", 640: "3B"}),
}

LONGEST_NOTE = 1 << 16  # characters; a config has some hundred


def stored_config(file: TensorFile):
    """Constructor arguments recorded in the metadata, or None: official files have none."""
    if "config" not in file.metadata:
        return None
    return parse_json(note(file, "config"), f"{file.path}: the metadata's 'config'", dict, "convert or write it again")


def note(file: TensorFile, name: str) -> str:
    """A text of the metadata; ValueError for one that is too long. KeyError where there is none."""
    if len(file.metadata[name]) > LONGEST_NOTE:
        raise ValueError(
            f"{file.path}: the metadata's {name!r} has {len(file.metadata[name])} characters, more than the "
            f"{LONGEST_NOTE} that it may have: take another file."
        )
    return file.metadata[name]


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
            _check_name(file, network)
            return network
    raise ValueError(
        f"{file.path} holds none of the cascade's networks; its first keys: {list(file.keys())[:4]}. Give a file of the "
        "release, or one that scripts/extract_unet_weights.py wrote without --lora."
    )


def _check_name(file: TensorFile, network: str):
    """ValueError if a file says that it is another of our networks than its keys show."""
    named = file.metadata.get("network", network)
    if named in RULES and named != network:
        raise ValueError(f"{file.path}: the metadata's 'network' is {named!r}, its tensors are those of a {network}.")
