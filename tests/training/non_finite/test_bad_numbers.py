"""Numbers that go bad: the layer, noise level and samples are named, the batch is saved, the weights are left alone."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from small_release import write_scenes_and_release

from ldm.training.flags.arguments import parse_into
from ldm.training.non_finite.batch import replay
from ldm.training.non_finite.guard import MOST_SKIPPED, Guard, NonFinite, finite_gradients
from ldm.training.run import build_trainer, replay_bad_batch
from ldm.training.tasks import prior, stage_a

BLOCK = "unet.up_blocks.0.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("bad"))


@pytest.fixture
def make_trainer(folder, tmp_path):
    def make(flags="", module=prior):
        command = (
            f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --resolution 64 --seed 5 "
            f"--output_dir {tmp_path / 'out'} --max_steps 4 --per_device_train_batch_size 2 --learning_rate 1e-3 {flags}"
        )
        return build_trainer(module.build_task, *parse_into(module.GROUPS, command.split()))

    return make


def poison_noise(trainer, *steps):
    """Give the second sample of these steps noise that is no number."""
    draw = trainer.task.draw

    def poisoned(streams, batch, times=None):
        drawn = draw(streams, batch, times)
        if trainer.state.global_step in steps and times is None:
            drawn["epsilon"][1, 0, 0, 0] = math.nan
        return drawn

    trainer.task.draw = poisoned


def poison_weight(trainer):
    """Make one weight of a block infinite before the third step: what an overflow in that block looks like."""
    layer = dict(trainer.model.named_sublayers())[f"{BLOCK}.mapper"]
    hook = trainer.guard.on_step_begin

    def on_step_begin(args, state, control, **options):
        if state.global_step == 2:
            with paddle.no_grad():
                layer.weight[0, 0] = math.inf
        return hook(args, state, control, **options)

    trainer.guard.on_step_begin = on_step_begin


def values(trainer):
    return {key: value.numpy().copy() for key, value in trainer.model.state_dict().items()}


def record_weights(trainer) -> list:
    """The weights after every step."""
    history = []
    original = trainer.guard.on_step_end
    trainer.guard.on_step_end = lambda *a, **k: (history.append(values(trainer)), original(*a, **k))[1]
    return history


def only_report(trainer):
    [path] = Path(trainer.args.output_dir, "bad_batches").glob("*.json")
    return path, json.loads(path.read_text())


def test_a_bad_sample_stops_the_run_and_is_named(make_trainer):
    trainer = make_trainer()
    poison_noise(trainer, 2)
    history = record_weights(trainer)
    with pytest.raises(NonFinite) as error:
        trainer.train()
    path, report = only_report(trainer)
    bad = report["samples"][1]
    assert report["step"] == 2 and report["what"] == "loss" and report["argument"] == "epsilon"
    assert bad["loss"] == "nan" and math.isfinite(report["samples"][0]["loss"])
    message = str(error.value)
    assert message.startswith("Step 3: the loss is not finite") and "epsilon, an input" in message
    assert f"index {bad['index']}, name {trainer.train_dataset.source.label(bad['index'])}" in message
    assert f"log_snr {bad['log_snr']}" in message and f"t {bad['t']}" in message and str(path) in message
    assert f"index {report['samples'][0]['index']}," not in message  # the other sample of the batch is not accused
    for key, value in values(trainer).items():  # what the second step left
        assert np.array_equal(value, history[1][key]), key


def test_the_first_block_is_named_and_the_replay_finds_it_again(make_trainer):
    trainer = make_trainer()
    poison_weight(trainer)
    with pytest.raises(NonFinite, match=f"the first appear in {BLOCK}.mapper, whose weight is not finite itself"):
        trainer.train()
    path, report = only_report(trainer)
    assert report["layer"] == f"{BLOCK}.mapper" and not report["from_input"]
    assert replay(trainer.task, path).layer == report["layer"]
    healthy = dict(trainer.model.named_sublayers())[f"{BLOCK}.mapper"].weight
    healthy.set_value(paddle.zeros(healthy.shape))
    assert math.isfinite(replay(trainer.task, path).loss)


@pytest.mark.parametrize("resumed", [None, "run/checkpoint-1"])
def test_whose_weights_the_first_step_is_made_with(make_trainer, resumed):
    """Large ones, finite in their file, overflow; later steps' are the run's own."""
    trainer = make_trainer()
    state, suspected = trainer.state, trainer.guard._suspected
    trainer.guard.resumed_from = resumed
    trainer.guard.on_train_begin(trainer.args, state, None)
    assert f"weights of {resumed or trainer.model.unet_path}" in suspected(state.global_step)
    assert suspected(state.global_step + 1) == ""


def test_a_bad_gradient_is_found_in_a_replay_too(make_trainer):
    """The forward pass is finite: only going back shows what was wrong."""

    class NoGradient(paddle.autograd.PyLayer):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.nan

    trainer = make_trainer()
    layer = dict(trainer.model.named_sublayers())[f"{BLOCK}.mapper"]
    layer.register_forward_post_hook(lambda layer, inputs, output: NoGradient.apply(output))
    with pytest.raises(NonFinite, match=f"the first bad gradient is that of {BLOCK}.mapper"):
        trainer.train()
    path, _ = only_report(trainer)
    for parameter in trainer.model.parameters():
        parameter.clear_gradient(set_to_zero=False)
    assert replay(trainer.task, path).gradient == f"{BLOCK}.mapper"


def test_the_replay_computes_the_loss_of_the_step(make_trainer):
    """Arguments and dropout are the step's: with the weights of then, the loss is the very number."""
    trainer = make_trainer()
    losses, checked = [], trainer.guard.checked
    trainer.guard.checked = lambda loss: losses.append(float(loss)) or checked(loss)
    trainer.guard.on_optimizer_begin = lambda *a, **k: (_ for _ in ()).throw(NonFinite(trainer.guard._report(1)))
    with pytest.raises(NonFinite):
        trainer.train()
    path, _ = only_report(trainer)
    assert replay(trainer.task, path).loss == losses[0]
    assert replay_bad_batch(trainer, path, None).loss == losses[0]


def test_a_skipped_step_leaves_weights_and_optimiser_alone(make_trainer):
    trainer = make_trainer("--on_non_finite skip --loss_weight adaptive --logging_steps 1")
    poison_noise(trainer, 1)
    history = record_weights(trainer)
    trainer.train()
    assert trainer.state.global_step == 4 and trainer.guard.skipped == 0
    for key, value in history[0].items():
        assert np.array_equal(value, history[1][key]), key
    assert any(not np.array_equal(value, history[2][key]) for key, value in history[1].items())
    assert all(np.isfinite(value).all() for value in values(trainer).values())
    assert np.isfinite(trainer.weighting.adaptive.losses).all()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 4 and losses[1] == 0 and all(math.isfinite(loss) for loss in losses)


def test_a_run_that_only_skips_gives_up(make_trainer):
    trainer = make_trainer("--on_non_finite skip --max_steps 20")
    poison_noise(trainer, *range(20))
    with pytest.raises(NonFinite, match=f"{MOST_SKIPPED + 1}th such step in a row"):
        trainer.train()
    assert trainer.state.global_step == MOST_SKIPPED


def test_a_bad_gradient_of_a_good_loss_is_noticed(make_trainer):
    trainer = make_trainer()
    weight = dict(trainer.model.named_parameters())[f"{BLOCK}.mapper.weight"]
    weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(NonFinite, match=f"the gradient is not finite; .* first bad gradient is that of {BLOCK}.mapper"):
        trainer.train()
    assert trainer.state.global_step == 0
    assert all(np.isfinite(value).all() for value in values(trainer).values())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_finite_gradients(bad):
    weight = paddle.create_parameter([3, 4], "float32")
    (weight * 1e30).sum().backward()
    assert finite_gradients([weight])
    with paddle.no_grad():
        weight.grad[1, 2] = bad
    assert not finite_gradients([weight])


def test_skipping_with_running_statistics_is_refused(make_trainer):
    with pytest.raises(ValueError, match="--freeze_batch_norm True"):
        make_trainer("--on_non_finite skip", stage_a)
    make_trainer("--on_non_finite skip --freeze_batch_norm True", stage_a)


def test_a_collapsed_loss_scale_is_reported_as_such(make_trainer):
    """The scaler's state as Paddle leaves it: fp16 itself needs a GPU."""
    trainer = make_trainer("--max_steps 1")
    trainer.train()
    guard: Guard = trainer.guard
    scaler = SimpleNamespace(_scale=paddle.to_tensor([4.0]), _cache_found_inf=True)
    for _ in range(2):
        guard.on_optimizer_end(trainer.args, trainer.state, trainer.control, scaler=scaler)
        scaler._scale = scaler._scale / 2
    scaler._scale = scaler._scale / 2
    with pytest.raises(NonFinite, match="loss scale has collapsed to 0.5 after 3 steps in a row") as error:
        guard.on_optimizer_end(trainer.args, trainer.state, trainer.control, scaler=scaler)
    assert "--bf16 True" in str(error.value)
    assert only_report(trainer)[1]["what"] == "fp16 loss scale"


def test_overflowing_gradients_are_left_to_the_scaler(make_trainer):
    trainer = make_trainer("--max_steps 1")
    trainer.train()
    for parameter in trainer.model.parameters():
        (parameter * math.inf).sum().backward()
    scaler = SimpleNamespace(_scale=paddle.to_tensor([1024.0]), _cache_found_inf=True)
    trainer.guard.on_optimizer_begin(trainer.args, trainer.state, trainer.control, scaler=scaler)
    trainer.guard.on_optimizer_end(trainer.args, trainer.state, trainer.control, scaler=scaler)
    with pytest.raises(NonFinite):
        trainer.guard.on_optimizer_begin(trainer.args, trainer.state, trainer.control, scaler=None)
