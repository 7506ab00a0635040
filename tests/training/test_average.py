"""The running average: of the float32 originals under mixed precision, swapped in and out bit for bit, and logged."""

import json
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from helpers import ROOT
from small_release import write_scenes_and_release

from ldm.training.checkpoints.files import EMA_FILE, read_state
from ldm.training.ema import Average, AverageUpdate
from ldm.training.flags.arguments import parse_into
from ldm.training.optimizer import master_weights
from ldm.training.run import build_trainer, train
from ldm.training.tasks import clip, prior, stage_a


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("average"))


def groups(folder, output, flags, module=prior):
    command = (
        f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --resolution 64 --seed 5 "
        f"--output_dir {output} --max_steps 4 --per_device_train_batch_size 2 --learning_rate 1e-3 {flags}"
    )
    return module.build_task, *parse_into(module.GROUPS, command.split())


def small_layer(dtype):
    layer = paddle.nn.Linear(3, 2)
    layer.weight.set_value(paddle.full([3, 2], 1.0))
    return layer.to(dtype=dtype)


def test_the_average_follows_the_float32_originals():
    """float16 knows nothing between 1 and 1 + 1 / 1024: only the originals show these steps."""
    layer = small_layer("float16")
    average = Average(layer, 0.5)
    masters = {layer.weight.name: paddle.full([3, 2], 1.0)}
    wrapped = SimpleNamespace(_inner_opt=SimpleNamespace(_master_weights=masters))
    expected = 1.0
    for step in range(1, 6):
        masters[layer.weight.name] = paddle.full([3, 2], 1 + step * 1e-4)
        AverageUpdate(average).on_step_end(None, None, None, optimizer=wrapped)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * (1 + step * 1e-4)
    shadow = dict(zip(average.keys, average.model.shadow_params))["weight"]
    assert shadow.dtype == paddle.float32
    np.testing.assert_allclose(shadow.numpy(), expected, rtol=1e-7)
    assert abs(expected - 1) > 1e-4


def test_masters_are_found_in_paddles_optimiser():
    layer = small_layer("bfloat16")
    optimizer = paddle.optimizer.AdamW(parameters=layer.parameters(), multi_precision=True)
    optimizer._create_accumulators(paddle.base.framework.default_main_program().global_block(), layer.parameters())
    assert set(master_weights(optimizer)) == {parameter.name for parameter in layer.parameters()}
    assert all(value.dtype == paddle.float32 for value in master_weights(optimizer).values())
    assert master_weights(paddle.optimizer.AdamW(parameters=layer.parameters())) == {}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_weights_come_back_bit_for_bit(dtype):
    layer = small_layer(dtype)
    layer.weight.set_value((paddle.randn([3, 2]) * 1e-3).astype(dtype))
    average = Average(layer, 0.9)
    before = layer.weight.numpy().copy()
    layer.weight.set_value(paddle.full([3, 2], 7.0).astype(dtype))
    with pytest.raises(RuntimeError), average.averaged():
        assert np.array_equal(layer.weight.numpy(), before)
        raise RuntimeError
    assert (layer.weight.numpy() == 7).all()


def test_the_loss_of_the_average_is_logged_and_training_does_not_notice(folder, tmp_path):
    states = {}
    for name, flags in (("silent", ""), ("logged", "--image_logging_steps 4 --num_inference_steps 1")):
        train(*groups(folder, tmp_path / name, f"--ema_decay 0.5 {flags}"))
        states[name] = read_state(tmp_path / name)[1]
    for key, value in states["silent"].items():
        assert np.array_equal(states["logged"][key], value), key
    history = json.loads((tmp_path / "logged" / "trainer_state.json").read_text())["log_history"]
    first, last = [entry for entry in history if "fixed_loss" in entry]
    assert first["fixed_loss"] == first["fixed_loss_ema"]
    trainer = build_trainer(*groups(folder, tmp_path / "other", ""))
    assert "fixed_loss_ema" not in trainer.fixed_losses()
    averaged = read_state(tmp_path / "logged", ema=True)[1]
    trainer.model.set_state_dict({key: paddle.to_tensor(value) for key, value in averaged.items()})
    assert trainer.fixed_loss() == pytest.approx(last["fixed_loss_ema"], rel=1e-6)
    assert last["fixed_loss_ema"] != last["fixed_loss"]
    assert (tmp_path / "logged" / EMA_FILE).is_file()


# Recomputing blocks ---------------------------------------------------------------------------------------------------


def test_recomputed_blocks_train_the_same_bits(folder, tmp_path):
    states = {}
    for name, flags in (("plain", ""), ("recomputed", "--recompute True")):
        trainer = build_trainer(*groups(folder, tmp_path / name, f"{flags} --gradient_accumulation_steps 2"))
        assert trainer.model.unet.enable_recompute == bool(flags)
        trainer.train()
        states[name] = {key: value.numpy() for key, value in trainer.model.state_dict().items()}
    for key, value in states["plain"].items():
        assert np.array_equal(states["recomputed"][key], value), key


def test_clip_towers_recompute_too(tmp_path):
    where = f"--weights_path {ROOT / 'assets/demo'} --dataset_path {ROOT / 'assets/houses'} --output_dir {tmp_path}"
    flags = f"--do_train {where} --per_device_train_batch_size 2 --recompute True"
    trainer = build_trainer(clip.build_task, *parse_into(clip.GROUPS, flags.split()))
    assert trainer.model.text.text_model.transformer.enable_recompute


def test_models_that_cannot_recompute_refuse_to(folder, tmp_path):
    with pytest.raises(ValueError, match="--recompute True"):
        build_trainer(*groups(folder, tmp_path, "--recompute True --freeze_batch_norm True", stage_a))


@pytest.mark.parametrize("optim", ["adamw_mini"])
def test_the_small_optimiser_trains_the_prior(folder, tmp_path, optim):
    trainer = build_trainer(
        *groups(folder, tmp_path, f"--optim {optim} --max_steps 12 --per_device_train_batch_size 6")
    )
    before = trainer.fixed_loss()
    trainer.train()
    assert trainer.fixed_loss() < before
