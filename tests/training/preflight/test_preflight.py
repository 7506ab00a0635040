"""The checks before a run: what they say, that wrong latents do not pass, and that they change nothing."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from bad_inputs import Inputs
from helpers import ROOT
from PIL import Image
from safetensors.numpy import save_file

from ldm.common.preflight_report import PreflightFailed, Report
from ldm.data.dataset import ImageTextFolder
from ldm.programs.train import prior as train_prior
from ldm.training.flags.arguments import parse_into
from ldm.training.preflight.checks import preflight
from ldm.training.preflight.data import histogram, judge_latents
from ldm.training.preflight.room import check_disk, checkpoint_bytes
from ldm.training.preflight.step import drawn_for, first_batch, try_step
from ldm.training.preflight.weights import check_image_size
from ldm.training.run import build_trainer, train
from ldm.training.task import NetworkEntry
from ldm.training.tasks import previewer, prior
from ldm.weights.release import OUTPUT_SIZE_KEY, load_network


@pytest.fixture
def inputs(tmp_path, rule_release):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        Image.linear_gradient("L").convert("RGB").resize((64, 64)).rotate(90 * number).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text("a gradient " * (40 if number == 2 else 1))
    return Inputs(tmp_path, rule_release, pictures)


def state_of(model) -> dict:
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


# What is said -------------------------------------------------------------------------------------------------------


def test_a_dry_run_reports_and_writes_nothing(inputs, capsys):
    inputs.output = inputs.output / "not" / "there"
    more = ["--dry_run", "True", "--aspect_buckets", "True", "--save_steps", "1", "--save_total_limit", "1"]
    assert train_prior([*inputs.flags, *more]) == 0
    said = capsys.readouterr().out
    for piece in (
        "samples       3, each with its caption",
        "64x64 ######",
        "1 are cut at 77 tokens",
        "3 samples: mean",
        "stage_c_lite.safetensors: stage_c, ",
        "effnet_encoder.safetensors: effnet, ",
        "float32",
        "2 checkpoints and the final weights",
        "gradients",
        "GiB free RAM",
        "one step      loss ",
        "2 steps: ",
        "Warning: 1 of 3 captions lose their ends",
        "was trained for images of 1024 px and is taught 85 px now; --output_size 1024 keeps to its size",
    ):
        assert piece in said, said
    assert not (inputs.folder / "output").exists()


@pytest.mark.parametrize("taught, warned", [("384", False), ("1024", True)])
def test_a_prior_that_is_taught_another_size_is_warned_of(tmp_path, taught, warned):
    prior = tmp_path / "prior.safetensors"
    save_file({"weight": np.zeros(1, np.float32)}, prior, {OUTPUT_SIZE_KEY: "384"})
    task = SimpleNamespace(
        stage=SimpleNamespace(unet_path=prior),
        networks={"unet": NetworkEntry("stage_c", {}, {OUTPUT_SIZE_KEY: taught})},
    )
    report = Report()
    check_image_size(report, task)
    assert bool(report.warnings) == warned


def test_problems_are_listed_together(inputs, monkeypatch, capsys):
    monkeypatch.setattr("ldm.training.preflight.room.free_on_disk", lambda folder: 1 << 20)
    monkeypatch.setattr("ldm.training.preflight.room.available", lambda: 1 << 20)
    assert train_prior([*inputs.flags, "--dry_run", "True"]) == 2
    said = capsys.readouterr()
    assert "2 problems" in said.err and " 1. --output_dir" in said.err and " 2. A step needs" in said.err
    assert "samples" in said.out and "one step" not in said.out


def test_bars_are_as_long_as_there_are_images():
    assert histogram([(64, 64), (96, 32), (32, 96)], np.array([40, 0, 10])).splitlines() == [
        f"    64x64 {'#' * 40} 40",
        f"    32x96 {'#' * 10} 10",
    ]


# Latents ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder():
    return load_network(ROOT / "assets" / "demo" / "effnet_encoder.safetensors", "effnet")


@pytest.fixture(scope="module")
def houses():
    dataset = ImageTextFolder(ROOT / "assets" / "houses", 192)
    return paddle.to_tensor(np.stack([dataset[index]["image"] for index in range(6)]))


def judged(latents) -> Report:
    report = Report()
    judge_latents(report, latents.numpy().transpose([1, 0, 2, 3]).reshape([16, -1]), len(latents), "the encoder")
    return report


@paddle.no_grad()
def test_rightly_normalised_images_pass(encoder, houses):
    report = judged(encoder.encode(houses))
    assert not report.problems and not report.warnings


@pytest.mark.parametrize(
    "wrong",
    [
        lambda encoder, images: encoder(images),
        lambda encoder, images: encoder.encode(2 * images - 1),
        lambda encoder, images: encoder.encode(255 * images),
    ],
    ids=["not normalised", "-1 to 1 where 0 to 1 is expected", "0 to 255"],
)
@paddle.no_grad()
def test_wrongly_normalised_images_do_not_pass(encoder, houses, wrong):
    with pytest.raises(PreflightFailed, match="the right encoder gives about 0 and 1"):
        judged(wrong(encoder, houses)).check()


@paddle.no_grad()
def test_images_from_minus_one_to_one_are_at_least_warned_of(encoder, houses):
    """Not normalised otherwise, six flat pictures come just inside what is refused: a std of 0.36, of 0.35."""
    report = judged(encoder(2 * houses - 1))
    assert any("the right encoder gives about 0 and 1" in said for said in report.problems + report.warnings)


# Nothing changes ----------------------------------------------------------------------------------------------------


def trained(inputs, name, *more):
    inputs.output = inputs.folder / name
    flags = "--ema_decay 0.9 --loss_weight adaptive --per_device_train_batch_size 2".split()
    groups = parse_into(prior.GROUPS, [*inputs.flags, *flags, *more])
    train(prior.build_task, *groups)
    return paddle.load(str(inputs.output / "model_state.pdparams")), (
        inputs.output / "adaptive_weight.json"
    ).read_text()


def test_a_run_is_the_same_with_and_without_its_checks(inputs, capsys):
    """Dropout, draws, order, optimiser and average: the weights after two steps are equal bit for bit."""
    without, weight = trained(inputs, "without", "--preflight", "False")
    assert "Before training" not in capsys.readouterr().out
    checked, checked_weight = trained(inputs, "with")
    assert "one step" in capsys.readouterr().out
    arrays = [
        {key: np.asarray(value) for key, value in state.items() if hasattr(value, "shape")}
        for state in (without, checked)
    ]
    assert len(arrays[0]) > 10 and equal(*arrays) and weight == checked_weight


def test_a_tried_step_leaves_batch_norms_modes_and_gradients_alone(inputs):
    groups = parse_into(previewer.GROUPS, [*inputs.flags, "--train_encoder", "True"])
    trainer = build_trainer(previewer.build_task, *groups)
    model = trainer.task.model
    model.eval()
    before, random = state_of(model), paddle.rand([4]).numpy()
    paddle.seed(0)
    drawn = drawn_for(trainer, first_batch(trainer, 2))
    paddle.seed(5)
    expected = paddle.rand([4]).numpy()
    paddle.seed(5)
    tried = try_step(trainer, drawn)
    assert np.array_equal(paddle.rand([4]).numpy(), expected) and not np.array_equal(random, expected)
    assert tried.finite and tried.loss > 0 and tried.gradient_norm > 0 and tried.peak > 0
    assert equal(before, state_of(model))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(layer.training for layer in model.sublayers(include_self=True))


def test_a_resumed_run_tries_no_step(inputs):
    trainer = build_trainer(prior.build_task, *parse_into(prior.GROUPS, inputs.flags))
    report = preflight(trainer, "a checkpoint")
    assert any("a checkpoint" in line for line in report.lines)
    assert not any("one step" in line for line in report.lines)


def test_checkpoints_that_are_there_count_as_room(inputs, monkeypatch):
    """A run that fitted when it began can be resumed once its checkpoints have taken their place."""
    trainer = build_trainer(prior.build_task, *parse_into(prior.GROUPS, [*inputs.flags, "--save_total_limit", "1"]))
    each = checkpoint_bytes(trainer)
    monkeypatch.setattr("ldm.training.preflight.room.free_on_disk", lambda folder: 3 * each - there)

    def problems():
        report = Report()
        check_disk(report, trainer, steps=10_000)
        return report.problems

    there = 0
    assert not problems()
    there = each
    assert problems()
    folder = inputs.output / "checkpoint-500"
    folder.mkdir(parents=True)
    with open(folder / "weights", "wb") as file:
        file.truncate(each)
    assert not problems()
