"""The main job as users run it: convert, sh train.sh on photographs, extract, generate; and resuming in between."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from ldm.images import read_settings

SIZES = ["--height", "256", "--width", "256", "--steps", "2", "--decoder_steps", "1"]
CAPTION = "a cup of coffee"


def run(*command, **environment) -> str:
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, **{k: str(v) for k, v in environment.items()}}
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def train(release, photos, output, steps, *flags):
    settings = dict(WEIGHTS=release, DATASET=photos, OUTPUT=output, STEPS=steps, RESOLUTION=64, BATCH_SIZE=4)
    small = ["--image_logging_steps", "6", "--num_inference_steps", "2", "--learning_rate", "1e-3", "--save_steps", "6"]
    run(
        "sh",
        "train.sh",
        *small,
        "--logging_steps",
        "3",
        "--ema_decay",
        "0.9",
        *flags,
        **settings,
        LAUNCH=sys.executable,
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory, rule_release):
    """Folders of one whole job."""
    folder = tmp_path_factory.mktemp("job")
    release, photos, output = folder / "release", folder / "photos", folder / "output"
    for script in ("convert_unet_weight", "convert_other_weight"):
        run(sys.executable, f"scripts/{script}.py", "--input", rule_release, "--output", release)
    run(sys.executable, "scripts/make_photo_dataset.py", "--output", photos)
    train(release, photos, output, 12)
    extracted = folder / "prior.safetensors"
    run(sys.executable, "scripts/extract_unet_weights.py", "--checkpoint_path", output, "--model_file", extracted)
    return {"release": release, "photos": photos, "output": output, "extracted": extracted, "folder": folder}


def generate(job, name, *flags):
    target = job["folder"] / name
    run(
        sys.executable,
        "inference.py",
        "--weights",
        job["release"],
        "--caption",
        CAPTION,
        "--output_dir",
        target,
        *SIZES,
        *flags,
    )
    return target / "result_0.png"


def logged(output, key):
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry[key] for entry in history if key in entry]


def test_the_loss_on_fixed_noise_goes_down(job):
    losses = logged(job["output"], "fixed_loss")
    assert len(losses) == 3 and losses[0] > losses[1] > losses[2]
    assert losses[-1] < 0.7 * losses[0]


def test_loss_rate_and_gradient_norm_are_logged(job):
    for key in ("loss", "learning_rate", "grad_norm"):
        values = logged(job["output"], key)
        assert len(values) == 4 and all(np.isfinite(values)) and all(value > 0 for value in values)
    records = list((job["output"] / "runs").rglob("vdlrecords.*.log"))
    assert records
    content = b"".join(path.read_bytes() for path in records)
    assert all(tag in content for tag in (b"train/loss", b"train/learning_rate", b"train/grad_norm", b"preview"))


def test_pictures_and_options_are_saved(job):
    pictures = sorted((job["output"] / "pictures").glob("*.png"))
    assert [picture.stem for picture in pictures] == ["step_000000", "step_000006", "step_000012"]
    first, last = (np.asarray(Image.open(picture), np.int16) for picture in (pictures[0], pictures[-1]))
    assert np.abs(first - last).mean() > 1
    options = json.loads((job["output"] / "options.json").read_text())
    assert options["resolution"] == 64 and options["learning_rate"] == 1e-3


def test_the_extracted_weights_change_the_image(job):
    base, again = generate(job, "base"), generate(job, "again")
    tuned = generate(job, "tuned", "--prior_weights", job["extracted"])
    pixels = [np.asarray(Image.open(path), np.int16) for path in (base, again, tuned)]
    assert pixels[0].shape == (256, 256, 3)
    assert np.array_equal(pixels[0], pixels[1])
    assert np.abs(pixels[0] - pixels[2]).mean() > 1
    settings = read_settings(tuned)
    assert settings["caption"] == CAPTION and settings["prior"] == str(job["extracted"]) and settings["steps"] == 2


def test_the_average_is_extracted_on_request(job):
    from ldm.weights.files import TensorFile

    target = job["folder"] / "ema.safetensors"
    run(
        sys.executable, "scripts/extract_unet_weights.py", "--checkpoint_path", job["output"], "--model_file", target,
        "--save_ema", "--dtype", "float16",
    )  # fmt: skip
    with TensorFile(job["extracted"]) as last, TensorFile(target) as average:
        assert last.shapes == average.shapes and set(average.dtypes.values()) == {"F16"}
        key = "clip_txt_mapper.weight"
        assert 0 < np.abs(last.read_numpy(key) - average.read_numpy(key).astype("float32")).max() < 0.1


def test_a_resumed_run_ends_bit_identical(job):
    """The first checkpoint, continued, ends where the uninterrupted run ended: dropout, order, draws and average too."""
    import shutil

    resumed = job["folder"] / "resumed"
    shutil.copytree(job["output"] / "checkpoint-6", resumed / "checkpoint-6")
    train(job["release"], job["photos"], resumed, 12)
    for name in ("model_state.pdparams", "ema.safetensors"):
        assert (resumed / name).read_bytes() == (job["output"] / name).read_bytes(), name
