"""A normal run says what is ours to say and nothing else: no warning of Paddle, PaddleNLP or any other library."""

import re
import subprocess
import sys

import pytest
from console import strays
from helpers import ROOT
from small_release import write_scenes_and_release

GENERATION = (
    r"prior .+ \(.+\), decoder .+ \(.+\), float32(, compiled)?",
    r"Compiling Stage [BC] for .+",
    r".+\.png: .+",
)
TRAINING = (
    r"\d+ captioned images; .+",
    r"Training [\d,]+ parameters, .+",
    r"Before training:",
    r"  (samples|captions|latents|weights|resumes from|computes on|disk|memory|one step|duration|Warning:) .+",
    r" {16}.+",
)
EXTRACTION = (r".+ -> .+\.safetensors \(float32\)\. Use it: .+",)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("quiet"))


def said(*command) -> tuple:
    """(standard output, standard error) of a program that ends well."""
    done = subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def check(outcome, patterns):
    output, errors = outcome
    lines = output.splitlines()
    assert lines and not [line for line in lines if not any(re.fullmatch(pattern, line) for pattern in patterns)]
    assert strays(errors) == []


def train(folder, *program, **flags):
    flags = {"weights_path": folder / "release", "dataset_path": folder / "scenes", "per_device_train_batch_size": 2,
             "save_steps": 1, "logging_steps": 1, "image_logging_steps": 1, "max_steps": 1, **flags}  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    return said(*(program or ["train_stage_c_trainer.py"]), "--do_train", *words)


def generate(folder, *flags):
    return said("inference.py", "--weights", folder / "release", "--caption", "a red star", "--height", 256, "--width", 256,
                "--steps", 1, "--decoder_steps", 1, "--output_dir", folder / "pictures", *flags)  # fmt: skip


def test_generation(folder):
    check(generate(folder, "--compile", "--compile_cache", folder / "compiled"), GENERATION)


def test_training_going_on_and_extraction(folder):
    run = dict(output_dir=folder / "prior", output_size=256, num_inference_steps=1, dataloader_num_workers=1)
    check(train(folder, **run), TRAINING)
    check(train(folder, **run, max_steps=2), TRAINING)
    check(
        said("scripts/extract_unet_weights.py", "--checkpoint_path", folder / "prior", "--model_file", folder / "prior.safetensors"),
        EXTRACTION,
    )  # fmt: skip


def test_training_with_batch_norms(folder):
    run = dict(output_dir=folder / "previewer", resolution=64)
    check(train(folder, "scripts/train_previewer.py", **run), TRAINING)


def test_a_warning_that_is_let_through_is_seen(folder):
    """The same training without what keeps warnings quiet."""
    code = "import runpy, sys, ldm.common.runtime; sys.path.insert(0, 'scripts'); ldm.common.runtime.ignore_warnings = lambda: None; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = f"import sys; sys.argv = sys.argv[1:]; {code}"
    _, errors = train(
        folder, "-c", command, "scripts/train_previewer.py", output_dir=folder / "let_through", resolution=64
    )
    assert any("UserWarning: When training, we now always track" in line for line in strays(errors))


@pytest.mark.parametrize(
    "line",
    [
        "W1128 02:27:25.909834 17197 eager_utils.cc:3584] Paddle static graph(PIR) not support input out tensor for now!!!!!",
        "lib/python3.11/site-packages/paddle/nn/layer/norm.py:885: UserWarning: When training, we now always track global mean",
        "  warnings.warn(",
        "\x1b[32m[2026-11-28 02:27:11,990] [    INFO]\x1b[0m - The default value for the training argument `--report_to` will",
        "\x1b[33m[2026-11-28 02:27:11,990] [ WARNING]\x1b[0m - step 1/2: loss 0.3",
        "\rStage C:  25%|##5    | 1/4 [00:00<00:01,  2.50it/s]W1128 02:27:25.909834 17197 eager_utils.cc:3584] Paddle",
    ],
)
def test_warnings_are_strays(line):
    assert strays(f"\nTraining:  50%|#####     | 1/2 [00:00]\n{line}\n") != []
