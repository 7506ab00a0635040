"""The project's programs on the files in a folder, as their command lines call them; what they make, to be compared."""

import hashlib
from pathlib import Path

import numpy as np

from fuzz.outcomes import main_of

OUTPUTS = "made"  # where a program that reads an input writes
BLACK = "black"  # what a picture comes to that is made of NaN
PICTURE = "--steps 1 --decoder_steps 1 --height 256 --width 256".split()
TRAINER = "train_stage_c_trainer.py"
TRAINING = (
    "--do_train --per_device_train_batch_size 2 --seed 5 --resolution 64 --learning_rate 2e-3 --ema_decay 0.9 "
    "--loss_weight adaptive --logging_steps 100"
).split()


def inference(folder: Path, *flags) -> dict:
    """{picture: its pixels' hash}."""
    from PIL import Image

    from ldm.programs import generate as program

    output = folder / OUTPUTS
    flags = ["--weights", folder / "release", "--output_dir", output, *PICTURE, *flags]
    main_of(program.main, flags if "--caption" in flags else ["--caption", "a red disc", *flags])
    pictures = {}
    for path in sorted(output.glob("*.png")):
        pixels = Image.open(path).convert("RGB")
        black = pixels.getextrema() == ((0, 0),) * 3
        pictures[path.name] = BLACK if black else hashlib.sha256(pixels.tobytes()).hexdigest()
    return pictures


def train(folder: Path, *flags, output=OUTPUTS, data="few") -> dict:
    """The trainer of the prior; {file of final weights: their hash}. Names of parameters count as in a process of its own."""
    import paddle

    from ldm.programs.train import prior

    paths = ("--weights_path", folder / "release", "--dataset_path", folder / data, "--output_dir", folder / output)
    argv = [*TRAINING, *paths, *flags]
    with paddle.utils.unique_name.guard():
        main_of(prior, argv, TRAINER)
    return tensors_of(folder / output)


def cache_features(folder: Path, *flags):
    from ldm.programs import cache_features as program

    paths = (
        "--weights_path",
        folder / "release",
        "--dataset_path",
        folder / "few",
        "--feature_cache",
        folder / "features",
    )
    main_of(program.main, [*paths, "--resolution", 64, *flags])


def extract(*flags):
    from ldm.programs import extract as program

    main_of(program.main, flags)


def tensors_of(folder: Path) -> dict:
    """{file: {tensor: hash of its values}} of what lies in `folder`, of whichever format."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        found[path.name] = tensors_in(path)
    for path in sorted(folder.glob("*.pdparams")):
        found[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def tensors_in(path: Path) -> dict:
    """{tensor: hash of its values}, and what the metadata says."""
    from ldm.weights.files import TensorFile

    with TensorFile(path) as file:
        found = {key: hashlib.sha256(file.read_numpy(key).tobytes()).hexdigest()[:16] for key in sorted(file.keys())}
        return {**found, "metadata": sorted((k, v) for k, v in file.metadata.items() if k not in ("source", "base"))}


def file_contents(path: Path) -> dict:
    """{tensor: hash}; AssertionError where a value is not finite."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    for key, value in tensors.items():
        assert np.isfinite(value).all(), f"{path.name}: {key} is not finite"
    return {key: hashlib.sha256(value.tobytes()).hexdigest() for key, value in sorted(tensors.items())}


def through_cli(program: str, work):
    """`work()` behind the boundary that every program has; its result."""
    from ldm.common.cli import run

    results = []
    main_of(lambda argv: run(program, lambda: results.append(work())), [], program)
    return results[0]
