"""A trainer is one file that states a Task: here a toy one, which states no more than it must."""

import json
import sys
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import paddle
import pytest
from helpers import ROOT
from paddle import nn

from ldm.common.cli import run as run_program
from ldm.programs.train import run_trainer
from ldm.training.batches.data import open_dataset
from ldm.training.batches.loader import Collator
from ldm.training.checkpoints.export import export_networks
from ldm.training.flags.data import DataArguments
from ldm.training.flags.values import Range, check_values, number
from ldm.training.task import NetworkEntry, Task


@dataclass
class ToyArguments:
    """How wide the toy is."""

    width: int = number(8, Range(1, 64), "channels")


@dataclass
class ToyDataArguments(DataArguments):
    """DataArguments of the toy."""

    def __post_init__(self):
        check_values(self)
        self.check_resolution(8, 8)


class Toy(nn.Layer):
    """Says the mean colour of an image that it is told."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, 3))

    def encode(self, images):
        return {"colours": images.mean([2, 3])}

    def forward(self, colours):
        return (self.net(colours) - colours).square().mean()


def build_task(model_args, data_args, args) -> Task:
    model, networks = Toy(model_args.width), {"net": NetworkEntry("toy", {"width": model_args.width})}
    return Task(model, open_dataset(data_args), Collator(), networks, encode=model.encode)


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the toy trainer as a script does that is one file in tasks/; its exit status."""
    module = ModuleType("ldm.training.tasks.toy")
    module.GROUPS, module.build_task = (ToyArguments, ToyDataArguments), build_task
    monkeypatch.setitem(sys.modules, module.__name__, module)
    flags = f"--do_train --dataset_path {ROOT / 'assets' / 'houses'} --resolution 64 --output_dir {tmp_path / 'out'} --seed 1 "
    flags += "--per_device_train_batch_size 6 --learning_rate 3e-2 --logging_steps 4 --report_to none"

    def run(more: str) -> int:
        with (
            paddle.utils.unique_name.guard()
        ):  # parameters are called as in a process of their own: checkpoints know them so
            argv = [*flags.split(), *more.split()]
            return run_program("toy.py", lambda: run_trainer("toy", argv), argv)

    return run


def test_it_trains_is_watched_and_goes_on(run, tmp_path):
    common = "--image_logging_steps 4 --ema_decay 0.9 --save_steps 4"
    assert run(f"{common} --max_steps 8") == 0
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    losses = [entry["fixed_loss"] for entry in history if "fixed_loss" in entry]
    assert len(losses) == 3 and losses[-1] < losses[0] and any("fixed_loss_ema" in entry for entry in history)
    assert run(f"{common} --max_steps 12") == 0
    assert (tmp_path / "out" / "checkpoint-12").is_dir()
    with pytest.raises(ValueError, match="'net' is a 'toy', for which a release has no file"):
        export_networks(tmp_path / "out" / "checkpoint-12", tmp_path / "release")


def test_its_new_weights_are_those_of_the_seed(run, tmp_path):
    def first_loss() -> float:
        assert run("--image_logging_steps 1 --max_steps 1 --save_steps 1 --overwrite_output_dir") == 0
        history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
        return next(entry["fixed_loss"] for entry in history if "fixed_loss" in entry)

    assert first_loss() == first_loss()


def test_it_is_checked_before_a_run(run, tmp_path, capsys):
    assert run("--max_steps 4 --dry_run True") == 0
    said = capsys.readouterr().out
    assert "samples       12, each with its caption" in said and "one step      loss " in said
    assert "without the activations" in said and not (tmp_path / "out").exists()
    assert not any(part in said for part in ("latents  ", "captions  ", "weights  "))


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--loss_weight adaptive", "what is trained here has no noise levels"),
        ("--noise_shift 4", "what is trained here has no noise levels"),
        ("--recompute True", "nothing that is trained here can recompute its blocks"),
        ("--freeze_batch_norm True", "nothing that is trained has a BatchNorm"),
    ],
)
def test_what_it_has_no_part_for_is_refused(run, flags, message, capsys):
    assert run(f"--max_steps 1 {flags}") == 2
    assert message in capsys.readouterr().err


def test_a_bad_number_is_traced_through_what_encodes(run, tmp_path, monkeypatch, capsys):
    encode = Toy.encode
    monkeypatch.setattr(Toy, "encode", lambda self, images: {"colours": encode(self, images)["colours"] * np.inf})
    assert run("--max_steps 1 --preflight False") == 2
    assert "the loss is not finite" in capsys.readouterr().err
    [report] = (tmp_path / "out" / "bad_batches").glob("*.json")
    assert json.loads(report.read_text())["layer"] == "net.0" and json.loads(report.read_text())["from_input"]
    monkeypatch.setattr(Toy, "encode", encode)
    assert run(f"--max_steps 1 --replay_bad_batch {report}") == 0
    assert "every layer's result and gradient is finite" in capsys.readouterr().out


def test_a_task_takes_what_its_encoding_names():
    task = Task(Toy(2), None, Collator(), {})
    assert list(task.takes) == ["colours"]
    task.encode = task.model.encode
    assert list(task.takes) == ["images"]
    assert float(task.loss({"images": paddle.ones([1, 3, 2, 2])})) == float(task.model(paddle.ones([1, 3])))
