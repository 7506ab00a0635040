"""The memory forecast against what Paddle's own allocator counts, and what follows from it."""

import json
import subprocess
import sys

import paddle
import pytest
from helpers import ROOT

from ldm.common.memory import allocated, peak_allocated, reset_peak
from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC
from ldm.networks.variants import variant_config
from ldm.training.preflight.blocks import Shape
from ldm.training.preflight.forecast import Forecast, parameter_terms, unet_activations
from ldm.weights.release import build_unfilled

TEXT, POOLED, IMAGE, LENGTH = 64, 48, 32, 16
TINY = dict(c_cond=96, c_hidden=(128, 128), nhead=(4, 4), blocks=((1, 1), (1, 1)), c_clip_text=TEXT,
            c_clip_text_pooled=POOLED, c_clip_img=IMAGE)  # fmt: skip


def measured(network, *inputs):
    """(bytes kept for the backward pass, most bytes in it) of the second step: gradients are there already."""
    network.train()
    for _ in range(2):
        reset_peak()
        before = allocated()
        output = network(*inputs)
        loss = (output * output).mean()
        kept = allocated() - before
        loss.backward()
        del output, loss
    return kept, peak_allocated() - before


def stage_c_step(batch, side, recompute=False, **changes):
    """Measured and forecast (kept, peak) of a tiny prior."""
    network = StageC(**{**TINY, **changes})
    network.enable_recompute = recompute
    inputs = [paddle.randn([batch, 16, side, side]), paddle.rand([batch])]
    inputs += [paddle.randn([batch, *shape]) for shape in ((LENGTH, TEXT), (1, POOLED), (1, IMAGE))]
    scales = [1.0, 0.5 if network.switch_level[0] else 1.0]
    shape = Shape(batch, side * side, LENGTH + 8, TINY["c_cond"])
    kept, workspace = unet_activations(network.levels, 16, shape, (side, side), recompute, scales)
    return measured(network, *inputs), (kept, kept + workspace)


@pytest.mark.parametrize(
    "batch, side, changes",
    [
        (2, 12, {}),
        (3, 8, {"dropout": (0.0, 0.0)}),
        (2, 12, {"level_config": ("CT", "CTAF"), "nhead": (-1, 4)}),
        (2, 12, {"switch_level": (True,)}),
        (2, 8, {"block_repeat": ((1, 2), (2, 1))}),
        (1, 8, {"c_hidden": (64, 192)}),
    ],
)
def test_what_a_prior_keeps_is_counted(batch, side, changes):
    """1 %: what is left are small things (the loss, resized skips), not a kind of tensor that was forgotten."""
    (kept, peak), (expected, most) = stage_c_step(batch, side, **changes)
    assert expected == pytest.approx(kept, rel=0.01)
    assert most == pytest.approx(peak, rel=0.1)


def test_recompute_keeps_little_and_its_peak_is_forecast():
    (_, full), _ = stage_c_step(2, 12, blocks=((1, 2), (2, 1)))
    (_, peak), (_, most) = stage_c_step(2, 12, recompute=True, blocks=((1, 2), (2, 1)))
    assert peak < full / 3
    assert most == pytest.approx(peak, rel=0.1)


def test_what_a_decoder_keeps_is_counted():
    config = dict(c_cond=64, c_hidden=(32, 48, 64, 64), nhead=(-1, -1, 2, 2), blocks=((1, 1, 1, 1), (1, 1, 1, 1)),
                  block_repeat=((1, 1, 1, 1), (2, 1, 1, 1)), c_clip=POOLED)  # fmt: skip
    network, side = StageB(**config), 32
    inputs = [
        paddle.randn([2, 4, side, side]),
        paddle.rand([2]),
        paddle.randn([2, 16, 4, 4]),
        paddle.randn([2, 1, POOLED]),
    ]
    (kept, peak) = measured(network, *inputs)
    grid = (side // 2, side // 2)
    scales = [1.0, 0.5, 0.25, 0.125]
    expected, workspace = unet_activations(network.levels, 4, Shape(2, grid[0] * grid[1], 4, 64), grid, scales=scales)
    assert expected + workspace == pytest.approx(peak, rel=0.1)


def test_nothing_is_kept_before_what_is_trained():
    """Gradients of the last level alone: half of the blocks, half of the memory."""
    levels = StageC(**TINY).levels
    shape = Shape(2, 144, 24, 96)
    whole, _ = unet_activations(levels, 16, shape, (12, 12))
    part, _ = unet_activations(levels, 16, shape, (12, 12), trained=lambda name: name.startswith("up_blocks."))
    assert 0.45 * whole < part < 0.65 * whole


def test_terms_of_the_parameters():
    terms = parameter_terms(400, 100, 30, "adamw", average=100)
    assert (terms["gradients"], terms["optimizer"], terms["average"], terms["saving"]) == (400, 800, 400, 1600)
    assert parameter_terms(400, 100, 30, "adamw_mini")["optimizer"] == 400
    assert parameter_terms(200, 100, 30, "adamw", number=2, masters=True)["optimizer"] == 1200
    forecast = Forecast(weights=4, gradients=4, optimizer=8, activations=5, workspace=2, heap=3, saving=8)
    assert (forecast.lasting, forecast.tensors, forecast.peak) == (16, 23, 26)


def test_the_full_prior_fits_in_24_gib_with_adamw_mini_and_recompute():
    """The arithmetic that the flags are chosen by; benchmarks/training_memory.py measures it."""
    config = variant_config("stage_c", "1B")
    levels = build_unfilled("stage_c", config).levels
    kept, workspace = unet_activations(levels, 16, Shape(1, 576, 85, 1536), (24, 24), recompute=True)
    count = 1_030_785_040
    forecast = Forecast(
        **{**parameter_terms(4 * count, count, 4 * 1536 * 3072, "adamw_mini"), "workspace": workspace}, activations=kept
    )
    assert 18 * 2**30 < forecast.peak < 21 * 2**30
    assert Forecast(**parameter_terms(4 * count, count, 0, "adamw")).peak > 24 * 2**30


@pytest.mark.slow
def test_the_process_takes_what_is_forecast():
    flags = "--width 512 --blocks 1 3 --grid 16 --batch 2 --json"
    command = [sys.executable, "benchmarks/training_memory.py", *flags.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["forecast_tensors"] == pytest.approx(result["tensors"], rel=0.03)
    assert result["forecast"] == pytest.approx(result["process"], rel=0.1)
