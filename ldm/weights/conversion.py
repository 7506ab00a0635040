"""Converting whole files and release folders between the official layout and Paddle's."""

import shutil
from pathlib import Path

from ldm.weights.convert import convert_file
from ldm.weights.detect import detect_network
from ldm.weights.files import TensorFile
from ldm.weights.release import CONFIG, build_unfilled, network_config

UNETS = ("stage_c", "stage_b")
OTHERS = ("stage_a", "effnet", "previewer")
CLIP_FOLDERS = ("text_encoder", "image_encoder", "tokenizer")


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
            shutil.copytree(folder, destination, dirs_exist_ok=True)
            copied.append(name)
    return copied
