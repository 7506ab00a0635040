"""The files of a CLIP folder: that they are there, and which of them hold weights."""

from pathlib import Path

from ldm.common.json_files import read_json

WEIGHT_FILES = (  # the first that exists is read
    "model.safetensors",
    "model.safetensors.index.json",
    "model.bf16.safetensors",
    "model.fp16.safetensors",
)
PICKLES = ("model_state.pdparams", "pytorch_model.bin")


def remedy(name):
    return f"download {name} of the Stable Cascade release or point WEIGHTS_PATH at a folder that has it"


def existing_folder(folder, name):
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: {remedy(name)}")
    return folder


def existing_file(path):
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {remedy(f'{path.parent.name}/{path.name}')}")
    return path


def read_folder_json(path):
    return read_json(path, remedy=remedy(f"{path.parent.name}/{path.name}"))


def weight_files(folder):
    """The one file of a folder's weights, or its shards."""
    name = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if name is None:
        pickles = [pickle for pickle in PICKLES if (folder / pickle).is_file()]
        converted = (
            f", only {' and '.join(pickles)}, which could run code when read: load it with the library that wrote it "
            "and save_pretrained(folder, safe_serialization=True), or"
            if pickles
            else ":"
        )
        raise FileNotFoundError(
            f"{folder} has no {WEIGHT_FILES[0]}{converted} {remedy(f'{folder.name}/{WEIGHT_FILES[0]}')}"
        )
    path = folder / name
    if path.suffix != ".json":
        return [path]
    parts = read_folder_json(path).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise ValueError(f"{path} has no weight_map: {remedy(f'{folder.name}/{name}')}")
    wrong = [part for part in parts.values() if not isinstance(part, str) or Path(part).name != part or not part]
    if wrong:
        raise ValueError(f"{path}: the weight_map's {wrong[0]!r:.100} is no file of the folder: {remedy(folder.name)}")
    return [existing_file(folder / part) for part in sorted(set(parts.values()))]
