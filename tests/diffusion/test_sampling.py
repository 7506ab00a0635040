"""The samplers against float64, the loop, and what a seed promises."""

import math

import numpy as np
import paddle
import pytest
from helpers import REFERENCE, distance

from ldm.diffusion.guidance import Guidance
from ldm.diffusion.noise import NoiseStream, RecordedNoise, image_seeds
from ldm.diffusion.sampling import SAMPLERS, SamplingSettings, sample
from ldm.diffusion.schedule import CosineSchedule
from ldm.networks.stage_c import StageC
from ldm.parity.record import Record

SHAPE = (2, 3, 4)


def predict(x, r, **conditions):
    """A model that looks at everything it is given."""
    return 0.6 * x + 0.3 * r.reshape([-1, 1, 1, 1])


def trajectory64(sampler, noise, times):
    """DDPM, DDIM and LCM from x and epsilon alone, float64: [(x0, x)]."""

    def levels(t):
        angle = (0.008 + t) / 1.008 * math.pi / 2
        variance = np.clip(math.cos(angle) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2, 1e-4, 0.9999)
        return math.sqrt(variance), math.sqrt(1 - variance)

    def condition(t):  # what the clamped schedule shows the network
        squared = levels(t)[0] ** 2 * math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        return np.clip(math.acos(math.sqrt(squared)) / (math.pi / 2) * 1.008 - 0.008, 0, 1)

    noise = [x.astype("float64") for x in noise]
    x, steps = noise.pop(0), []
    for t, t_next in zip(times, times[1:]):
        (alpha, sigma), (next_alpha, next_sigma) = levels(t), levels(t_next)
        epsilon = 0.6 * x + 0.3 * condition(t)
        x0 = (x - sigma * epsilon) / alpha
        if sampler == "ddim":
            x = next_alpha * x0 + next_sigma * epsilon
        elif sampler == "lcm":
            x = next_alpha * x0 + next_sigma * noise.pop(0)
        else:
            squared = next_sigma**2 / sigma**2 * (1 - alpha**2 / next_alpha**2)
            x = next_alpha * x0 + math.sqrt(next_sigma**2 - squared) * epsilon + math.sqrt(squared) * noise.pop(0)
        steps.append((x0, x))
    return steps


@pytest.mark.parametrize("times", [(1.0, 0.0), (0.8, 0.1)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_formulas(sampler, times):
    noise = np.random.default_rng(0).standard_normal((9, 2, *SHAPE), dtype=np.float32)
    settings = SamplingSettings(8, sampler, Guidance(1.0), t_start=times[0], t_end=times[1])
    steps = list(sample(predict, {}, {}, SHAPE, RecordedNoise(noise), settings))
    expected = trajectory64(sampler, list(noise), np.linspace(*times, 9))
    assert [step.index for step in steps] == list(range(8))
    for step, (x0, x) in zip(steps, expected):
        # alpha is 0.01 at t = 1, so dividing by it magnifies float32's rounding
        assert distance(step.x0, x0) < 1e-4 and distance(step.x, x) < 1e-4


def test_ddim_draws_no_noise():
    noise = RecordedNoise(np.zeros((1, 2, *SHAPE), np.float32))
    list(sample(predict, {}, {}, SHAPE, noise, SamplingSettings(5, "ddim", Guidance(1.0))))
    assert noise.remaining == []


def test_shift_moves_the_noise_levels():
    seen = {}
    for shift in (1.0, 2.0):

        def model(x, r):
            seen.setdefault(shift, []).append(float(r[0]))
            return x * 0.5

        settings = SamplingSettings(4, guidance=Guidance(1.0), schedule=CosineSchedule(shift=shift))
        list(sample(model, {}, {}, SHAPE, NoiseStream([0], "t"), settings))
    assert all(shifted >= plain for shifted, plain in zip(seen[2.0], seen[1.0])) and seen[2.0][2] > seen[1.0][2] + 0.05


def test_start_from_a_latent():
    x_init = paddle.randn([2, *SHAPE])
    firsts = []

    def model(x, r):
        firsts.append(x)
        return x * 0.5

    settings = SamplingSettings(4, "ddim", Guidance(1.0), t_start=0.8)
    steps = list(sample(model, {}, {}, SHAPE, RecordedNoise([]), settings, x_init))
    assert len(steps) == 4 and firsts[0] is x_init


def test_the_loop_is_a_generator():
    calls = []

    def model(x, r):
        calls.append(1)
        return x * 0.5

    steps = sample(model, {}, {}, SHAPE, NoiseStream([0], "t"), SamplingSettings(20, guidance=Guidance(1.0)))
    assert calls == []
    next(steps), next(steps)
    assert len(calls) == 2
    steps.close()
    assert len(calls) == 2


@pytest.fixture(scope="module")
def prior():
    record = Record(REFERENCE / "stage_c_tiny.safetensors")
    conditions = {name: record.tensor(f"in.{name}") for name in ("clip_text", "clip_text_pooled", "clip_img")}
    return record.build(StageC, "stage_c"), conditions


@paddle.no_grad()
def run(prior, seeds, rows, sampler="ddpm"):
    network, conditions = prior
    chosen = {name: paddle.concat([value[row : row + 1] for row in rows]) for name, value in conditions.items()}
    nothing = {name: paddle.zeros_like(value) for name, value in chosen.items()}
    settings = SamplingSettings(4, sampler)
    return list(sample(network, chosen, nothing, (16, 6, 4), NoiseStream(seeds, "Stage C"), settings))[-1].x0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_batch_is_its_single_images(prior, sampler):
    """1e-5: matrix products of another batch size sum in another order, nothing else differs."""
    batch = run(prior, image_seeds(5, 3), [0, 1, 0], sampler)
    for index, row in enumerate([0, 1, 0]):
        assert distance(batch[index : index + 1], run(prior, [5 + index], [row], sampler)) < 1e-5
    assert distance(batch[2], batch[0]) > 0.1  # same caption, other seed


def test_a_seed_is_a_promise(prior):
    np.testing.assert_array_equal(run(prior, [3], [0]).numpy(), run(prior, [3], [0]).numpy())
    assert distance(run(prior, [3], [0]), run(prior, [4], [0])) > 0.1
    paddle.seed(1)
    first = run(prior, [3], [0]).numpy()
    paddle.seed(2)  # the global generator plays no part
    np.testing.assert_array_equal(run(prior, [3], [0]).numpy(), first)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(num_steps=0), "num_steps must be at least 1, got 0"),
        (dict(num_steps=-3), "got -3"),
        (dict(sampler="euler"), "'euler'.*ddpm, ddim, lcm"),
        (dict(t_start=1.2), "1.2"),
        (dict(t_start=0.2, t_end=0.5), "0.5 and 0.2"),
        (dict(t_end=-0.1), "-0.1"),
        (dict(t_start=0.0), "t_start"),
    ],
)
def test_impossible_settings(options, message):
    with pytest.raises(ValueError, match=message):
        SamplingSettings(**options)
