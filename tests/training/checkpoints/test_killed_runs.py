"""A run that is killed by SIGKILL and started again ends with the bits of the run that was left alone."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from helpers import ROOT
from small_release import write_scenes_and_release

STEPS, EVERY = 18, 3
FLAGS = (
    f"--do_train --max_steps {STEPS} --save_steps {EVERY} --save_total_limit 2 --per_device_train_batch_size 2 --seed 5 "
    "--gradient_accumulation_steps 2 --resolution 64 --learning_rate 2e-3 --ema_decay 0.9 --loss_weight adaptive "
    "--dataloader_num_workers 1 --lr_scheduler_type cosine --warmup_steps 2 --logging_steps 5"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes, a release whose prior has dropout, and in uninterrupted/ the run that nobody kills."""
    folder = write_scenes_and_release(tmp_path_factory.mktemp("killed"), dropout=0.1)
    assert start(folder, "uninterrupted") == 0
    return folder


def start(folder, name, kill=None) -> int:
    """Start or continue the run `name`; its exit status."""
    settings = json.dumps({"order": str(folder / f"{name}.order"), "kill": kill})
    paths = f"--weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --output_dir {folder / name}"
    command = [sys.executable, Path(__file__).with_name("killed_run.py"), settings, *FLAGS.split(), *paths.split()]
    with open(folder / f"{name}.log", "w") as log:
        # A session of its own and no pipe: the loader's worker outlives a killed run, and would keep a pipe open
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        status = process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert status in (0, -signal.SIGKILL), (folder / f"{name}.log").read_text()[-4000:]
    return status


def check_same(folder, name):
    """Weights, average, optimiser, schedule, adaptive weight, RNG and the samples of every step, bit for bit."""
    expected, ours = folder / "uninterrupted", folder / name
    for file in ("model_state.pdparams", "ema.safetensors"):
        assert (ours / file).read_bytes() == (expected / file).read_bytes(), file
    expected, ours = expected / f"checkpoint-{STEPS}", ours / f"checkpoint-{STEPS}"
    names = {path.name for path in expected.iterdir()}
    assert names == {path.name for path in ours.iterdir()}
    assert {"ema.safetensors", "adaptive_weight.json", "optimizer.pdopt", "scheduler.pdparams", "rng_state.pth"} < names
    assert (ours / "adaptive_weight.json").read_bytes() == (expected / "adaptive_weight.json").read_bytes()
    for file in ("model_state.pdparams", "optimizer.pdopt", "scheduler.pdparams", "rng_state.pth"):
        check_equal(*(paddle.load(str(f / file), return_numpy=True) for f in (ours, expected)), file)
    batches = dict(read_order(folder / "uninterrupted.order"))
    assert len(batches) == 2 * STEPS
    order = read_order(folder / f"{name}.order")
    assert {place for place, _ in order} == set(batches)
    for place, indices in order:
        assert indices == batches[place], place


def check_equal(ours, expected, where):
    if isinstance(expected, dict):
        assert ours.keys() == expected.keys(), where
        for key in expected:
            check_equal(ours[key], expected[key], f"{where} {key}")
    elif isinstance(expected, (list, tuple)):
        assert len(ours) == len(expected), where
        for index, (one, other) in enumerate(zip(ours, expected)):
            check_equal(one, other, f"{where} {index}")
    elif isinstance(expected, (paddle.Tensor, np.ndarray)):
        one, other = (np.asarray(value) for value in (ours, expected))
        assert one.dtype == other.dtype and np.array_equal(one, other), where
    elif isinstance(expected, paddle.base.core.GeneratorState):
        assert re.sub("0x[0-9a-f]+", "", str(ours)) == re.sub("0x[0-9a-f]+", "", str(expected)), (
            where
        )  # an address is in it
    else:
        assert ours == expected, where


def read_order(path) -> list:
    """((step, accumulation step), sample indices) of every batch that was computed."""
    return [((step, micro), indices) for step, micro, indices in map(json.loads, path.read_text().splitlines())]


def test_killed_while_training_writing_and_naming(folder):
    kills = [{"half": 6, "file": "optimizer"}, {"unnamed": 9}, {"after": 0.3}, {"half": 15, "file": "model_state"}]
    for kill in kills:
        assert start(folder, "killed", kill) == -signal.SIGKILL
        staged = sorted(path.name for path in (folder / "killed").glob(".saving/checkpoint-*"))
        if "half" in kill:
            assert staged == [f"checkpoint-{kill['half']}"]
            assert not (folder / "killed" / staged[0]).exists()
    assert start(folder, "killed") == 0
    assert "Removing" in (folder / "killed.log").read_text()
    assert not (folder / "killed" / ".saving").exists() or not os.listdir(folder / "killed" / ".saving")
    check_same(folder, "killed")


@pytest.mark.slow
def test_killed_at_twenty_random_moments(folder):
    random_moments, killed, run = random.Random(0), 0, 0
    while killed < 20:
        name, alive = f"random_{run}", True
        while alive and killed < 20:
            step = EVERY * random_moments.randint(1, STEPS // EVERY)
            moment = {"after": random_moments.uniform(0, 1.0)}
            if random_moments.random() < 0.5:
                moment = {"saving": step, "after": random_moments.uniform(0, 0.05)}
            status = start(folder, name, moment)
            killed += status != 0
            alive = status != 0
        if alive:
            assert start(folder, name) == 0
        check_same(folder, name)
        run += 1
