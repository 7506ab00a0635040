"""The dataset of a run: its flags, damaged files, sizes in one vocabulary, and bit-identical resumes of random views."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image
from small_release import write_scenes_and_release

from ldm.training.batches.data import open_dataset
from ldm.training.flags.arguments import parse_into
from ldm.training.tasks import clip, decoder, previewer, prior, stage_a

SHAPES = [(96, 96), (64, 128), (128, 64)]


def write_images(folder, shapes=SHAPES * 4):
    """A folder of noise with captions, one image per (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index, (width, height) in enumerate(shapes):
        pixels = rng.integers(0, 255, (height, width, 3), dtype="uint8")
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        (folder / f"{index:02d}.txt").write_text(f"noise number {index}")
    return folder


def arguments(folder, flags="", trainer=prior):
    [data] = [
        group
        for group in parse_into(trainer.GROUPS, f"--do_train --output_dir out --dataset_path {folder} {flags}".split())
        if hasattr(group, "dataset_path")
    ]
    return data


def test_damaged_files_are_all_listed_and_skipped_on_request(tmp_path, capsys):
    folder = write_images(tmp_path)
    (folder / "03.png").write_bytes(b"no image")
    (folder / "05.png").write_bytes((folder / "05.png").read_bytes()[:300])
    (folder / "07.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(
        ValueError, match="(?s)03.png cannot be read.*05.png cannot.*07.txt is not UTF-8.*--skip_corrupt"
    ):
        open_dataset(arguments(folder, "--resolution 64"))
    for flags in ("", "--aspect_buckets True"):
        dataset = open_dataset(arguments(folder, f"--resolution 64 --skip_corrupt True {flags}"))
        assert "3 of 12 samples cannot be read and are left out: 03.png, 05.png, 07.png" in capsys.readouterr().out
        names = [dataset.source.name(index) for index in range(len(dataset))]
        assert names == [f"{index:02d}.png" for index in (0, 1, 2, 4, 6, 8, 9, 10, 11)]
        assert len(dataset.captions) == 9 and dataset[3]["caption"] == "noise number 4"


def test_without_the_check_a_damaged_file_names_itself_later(tmp_path):
    folder = write_images(tmp_path)
    (folder / "03.png").write_bytes(b"no image")
    dataset = open_dataset(arguments(folder, "--resolution 64 --check_images False"))
    with pytest.raises(ValueError, match="03.png cannot be read"):
        dataset[3]
    with pytest.raises(ValueError, match="(?s)03.png cannot be read.*--skip_corrupt"):  # shapes need every header
        open_dataset(arguments(folder, "--resolution 64 --check_images False --aspect_buckets True"))


@pytest.mark.parametrize(
    "trainer, flags, message",
    [
        (prior, "--skip_corrupt True --check_images False", "do not switch that off"),
        (prior, "--crop left", "--crop must be"),
        (prior, "--random_bucket 2", "random_bucket must be at least 0 and at most 1"),
        (prior, "--caption_key text", "captions of .* are the .txt files"),
        (prior, "--data_filter import", "--data_filter 'import'"),
        (decoder, "--random_crop 64 --resolution 256 --aspect_buckets True", "--random_crop cuts squares"),
        (clip, "--aspect_buckets True", "--aspect_buckets: leave it out"),
        (clip, "--output_size 512", "--output_size: leave it out"),
    ],
)
def test_flags_that_contradict_the_data_or_each_other(tmp_path, trainer, flags, message):
    with pytest.raises(ValueError, match=message):
        open_dataset(arguments(write_images(tmp_path), flags, trainer))


@pytest.mark.parametrize(
    "trainer, flags, resolution",
    [
        (prior, "", 768),
        (prior, "--output_size 1024", 768),
        (prior, "--output_size 512", 384),
        (prior, "--output_size 1000", 768),  # 24 cells, as generation at 1000 has
        (prior, "--output_size 256 --resolution 192", 192),
        (previewer, "--output_size 1024", 768),
        (previewer, "", 768),
        (decoder, "--output_size 512", 512),
        (decoder, "", 1024),
        (stage_a, "--output_size 512", 512),
        (stage_a, "", 256),
    ],
)
def test_training_pixels_follow_from_the_output_size(trainer, flags, resolution):
    assert arguments("x", flags, trainer).resolution == resolution


@pytest.mark.parametrize(
    "trainer, flags, message",
    [
        (prior, "--output_size 1024 --resolution 1024", "1024 is trained at 768 pixels, but --resolution says 1024"),
        (prior, "--output_size 512 --resolution 768", "trained at 384 pixels, but --resolution says 768"),
        (prior, "--output_size 100", "below the minimum of 256"),
        (decoder, "--output_size 1001", "--output_size 1001: must be a multiple of 8"),
    ],
)
def test_sizes_that_contradict_each_other(trainer, flags, message):
    with pytest.raises(ValueError, match=message):
        arguments("x", flags, trainer)


def test_the_sizes_are_said(tmp_path, capsys):
    open_dataset(arguments(write_images(tmp_path), "--resolution 96"))
    said = "12 captioned images; training pixels 96, latents 3 x 3, for generating at 128 px (x 4/3)."
    assert said in capsys.readouterr().out
    open_dataset(arguments(tmp_path, "--resolution 96 --aspect_buckets True"))
    assert "96x96: 4, " in capsys.readouterr().out


VIEWS = (
    "--resolution 64 --aspect_buckets True --random_bucket 0.3 --crop random --flip True --dataloader_num_workers 2 "
    "--per_device_train_batch_size 2 --learning_rate 1e-3 --save_steps 4 --caption_dropout 0.3"
)


def test_a_resumed_run_with_buckets_random_views_and_workers_is_bit_identical(tmp_path):
    write_scenes_and_release(tmp_path)
    folder = write_images(tmp_path / "images")

    def run(output):  # in a process of its own: Paddle numbers parameters, and a second model's have other names
        flags = (
            f"--do_train --weights_path {tmp_path / 'release'} --dataset_path {folder} --output_dir {tmp_path / output}"
        )
        command = [
            sys.executable,
            "train_stage_c_trainer.py",
            *flags.split(),
            "--preflight",
            "False",
            "--max_steps",
            "9",
        ]
        command += VIEWS.split()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return (tmp_path / output / "model_state.pdparams").read_bytes()

    whole = run("whole")
    shutil.copytree(tmp_path / "whole" / "checkpoint-4", tmp_path / "again" / "checkpoint-4")
    assert (tmp_path / "again" / "checkpoint-4" / "model_state.pdparams").read_bytes() != whole
    assert run("again") == whole


def test_train_sh_takes_an_output_size(tmp_path):
    """Up to the missing release: the flags arrive, and a contradiction is refused."""
    folder = write_images(tmp_path)
    env = {**os.environ, "LAUNCH": sys.executable, "WEIGHTS": str(tmp_path / "nothing"), "DATASET": str(folder)}
    env |= {"OUTPUT": str(tmp_path / "out")}

    def run(*flags, **settings):
        return subprocess.run(
            ["sh", "train.sh", *flags], cwd=ROOT, capture_output=True, text=True, env={**env, **settings}
        )

    assert "training pixels 384," in run(OUTPUT_SIZE="512").stdout
    assert "--resolution says 768" in run(OUTPUT_SIZE="512", RESOLUTION="768").stderr


def test_teaching_the_demo_takes_its_size_from_output_size_alone(tmp_path):
    """Refused before anything is drawn."""
    env = {**os.environ, "WORK": str(tmp_path / "work")}
    for flags, settings in (["--resolution", "288"], {}), (["--output_size=512"], {}), ([], {"RESOLUTION": "288"}):
        command = ["sh", "scripts/teach_demo.sh", *flags]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**env, **settings})
        assert done.returncode == 2 and "OUTPUT_SIZE=512" in done.stderr, done.stderr
    assert not (tmp_path / "work").exists()


def test_train_sh_takes_the_model_from_config(tmp_path):
    """Folder and version, unless WEIGHTS or VERSION says otherwise."""
    shutil.copytree(ROOT / "ldm", tmp_path / "ldm")  # a copy has no bundled demo beside it
    for name in ("train.sh", "train_stage_c_trainer.py"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "config.py").write_text((ROOT / "config.py").read_text().replace('"models"', '"my_weights"'))
    folder = write_images(tmp_path / "images")
    env = {**os.environ, "LAUNCH": sys.executable, "DATASET": str(folder), "OUTPUT": str(tmp_path / "out")}

    def error(**settings):
        done = subprocess.run(["sh", "train.sh"], cwd=tmp_path, capture_output=True, text=True, env={**env, **settings})
        assert done.returncode != 0
        return done.stderr

    assert "my_weights" in error() and "others" in error(WEIGHTS="others")
