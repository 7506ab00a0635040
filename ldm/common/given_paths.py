"""Paths that users give where a file is needed and a folder is there. Standard library only."""

from pathlib import Path

SHOWN = 5  # files that are named
TRAINED = ("model_state.pdparams", "model_state.safetensors", "trainer_state.json")  # what a trainer's checkpoint has


def check_file(path):
    """IsADirectoryError, which names the files to choose from, for a folder in the place of a file of weights."""
    path = Path(path)
    if not path.is_dir():
        return
    if any((path / name).is_file() for name in TRAINED):
        raise IsADirectoryError(
            f"{path} is a trainer's checkpoint folder, and a file is needed: extract one by "
            f"scripts/extract_unet_weights.py --checkpoint_path {path} --model_file tuned.safetensors."
        )
    found = sorted(path.glob("*.safetensors"))
    listed = ", ".join(map(str, found[:SHOWN])) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    choice = f"give one of {listed}" if len(found) > 1 else f"give {listed}" if found else "it has no safetensors file"
    raise IsADirectoryError(f"{path} is a folder, and a file is needed: {choice}.")
