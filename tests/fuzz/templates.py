"""The undamaged inputs: a small release, scenes, a run with checkpoints, and what the programs make of them."""

import os
import shutil
from pathlib import Path

from fuzz.programs import main_of

BLACK = "black"  # what a picture comes to that is made of NaN
OUTPUTS = "made"  # where a program that reads an input writes
PICTURE = "--steps 1 --decoder_steps 1 --height 256 --width 256".split()


def make(base: Path):
    """Write every template below `base`. Called in a forked process: Paddle computes here."""
    from small_release import write_scenes_and_release

    write_scenes_and_release(base, dropout=0.1)


def copy(base: Path, names, folder: Path) -> Path:
    """A copy of some templates in `folder`, which is made anew. Files are copied: a program may write to any of them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in names:
        source = base / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    (folder / OUTPUTS).mkdir()
    return folder


def inference(folder: Path, *flags):
    """inference.py with the release in `folder`; {picture: its pixels' hash}."""
    import hashlib

    import inference as program
    from PIL import Image

    output = folder / OUTPUTS
    flags = ["--weights", folder / "release", "--output_dir", output, *PICTURE, *flags]
    main_of(program.main, flags if "--caption" in flags else ["--caption", "a red disc", *flags])
    pictures = {}
    for path in sorted(output.glob("*.png")):
        pixels = Image.open(path).convert("RGB")
        black = pixels.getextrema() == ((0, 0),) * 3
        pictures[path.name] = BLACK if black else hashlib.sha256(pixels.tobytes()).hexdigest()
    return pictures


def files_below(folder: Path) -> list[Path]:
    return sorted(Path(root, name) for root, _, names in os.walk(folder) for name in names)
