"""Sampling: one step of each sampler, and the loop over them as a generator.

Its caller owns progress bars, looks at intermediate images and may stop.
"""

from dataclasses import dataclass, field
from functools import cache, partial

import paddle

from ldm.diffusion.guidance import Guidance, guide
from ldm.diffusion.prediction import prediction_of
from ldm.diffusion.schedule import CosineSchedule, linspace, scales, undiffuse

# Samplers: (x0, epsilon) predicted at one noise level -> x at the next, less noisy one. `now` and `after` are the (alpha,
# sigma) of the two, broadcastable to x0; `noise` is called for fresh standard normal noise like it.


def ddpm(x0, epsilon, now, after, noise):
    """Ancestral sampling (DDPM, arXiv:2006.11239)."""
    (alpha, sigma), (next_alpha, next_sigma) = now, after
    added = (next_sigma**2 / sigma**2).sqrt() * (1 - alpha**2 / next_alpha**2).sqrt()
    return next_alpha * x0 + (next_sigma**2 - added**2).sqrt() * epsilon + added * noise()


def ddim(x0, epsilon, now, after, noise):
    """Deterministic sampling (DDIM, arXiv:2010.02502)."""
    next_alpha, next_sigma = after
    return next_alpha * x0 + next_sigma * epsilon


def lcm(x0, epsilon, now, after, noise):
    """Consistency sampling: the predicted x0, noised anew (LCM, arXiv:2310.04378)."""
    next_alpha, next_sigma = after
    return next_alpha * x0 + next_sigma * noise()


SAMPLERS = {"ddpm": ddpm, "ddim": ddim, "lcm": lcm}


def find_sampler(name: str):
    """The sampler called `name`; ValueError names the known ones."""
    if name not in SAMPLERS:
        raise ValueError(f"Unknown sampler {name!r}: choose one of {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]


@dataclass(frozen=True)
class SamplingSettings:
    """Everything that decides a trajectory besides noise and conditions."""

    num_steps: int = 20
    sampler: str = "ddpm"  # ddpm, ddim or lcm
    guidance: Guidance = field(default_factory=Guidance)
    schedule: CosineSchedule = field(default_factory=CosineSchedule)
    t_start: float = 1.0  # below 1 for image-to-image, together with x_init
    t_end: float = 0.0

    def __post_init__(self):
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}.")
        if not 0 <= self.t_end < self.t_start <= 1:
            raise ValueError(f"Times must satisfy 0 <= t_end < t_start <= 1, got {self.t_end} and {self.t_start}.")
        find_sampler(self.sampler)


@dataclass(frozen=True)
class SamplingStep:
    """What one step yields: its index, the predicted clean latent and the latent after the step, (B, C, H, W)."""

    index: int
    x0: paddle.Tensor
    x: paddle.Tensor


def sample(model, conditions: dict, unconditional: dict, shape, noise, settings: SamplingSettings, x_init=None):
    """Yield a `SamplingStep` per step; the last one's x0 is the result, as in the release.

    model(x, r, **conditions) predicts the noise or the velocity (`ldm.diffusion.prediction`); where it has
    `bound(size, **conditions)`, as the UNets have, it looks at the conditions once and not in every step.
    `shape` = (C, H, W) of one latent; `noise` a NoiseStream.
    `x_init` (B, C, H, W): start from this already noised latent instead of from noise.
    Conditions and predictions are float32 here whatever the model computes in.
    """
    step_fn, schedule = find_sampler(settings.sampler), settings.schedule
    times = paddle.to_tensor(linspace(settings.t_start, settings.t_end, settings.num_steps + 1))
    log_snrs = schedule.log_snr(times)
    x = noise.normal(shape) if x_init is None else x_init
    batch, implied = x.shape[0], prediction_of(model).epsilon
    single = _bound(model, x.shape[2:], conditions)
    double = _bound(model, x.shape[2:], _stacked(conditions, unconditional))

    for index, t in enumerate(times.tolist()[:-1]):
        log_snr, next_log_snr = (log_snrs[i].expand([batch]) for i in (index, index + 1))
        r = schedule.noise_condition(log_snr)
        epsilon = _predict(single, double, x, r, settings.guidance, t, partial(implied, log_snr=log_snr))
        x0 = undiffuse(x, epsilon, log_snr)
        x = step_fn(x0, epsilon, scales(log_snr, x), scales(next_log_snr, x), lambda: noise.normal(shape))
        yield SamplingStep(index, x0, x)


def _bound(model, size, conditions: dict):
    """A function that on its first call gives `model` with its conditions looked at: (x, r) -> the predicted noise."""
    return cache(lambda: model.bound(size, **conditions) if hasattr(model, "bound") else partial(model, **conditions))


def _predict(single, double, x, r, guidance: Guidance, t: float, implied):
    """The guided noise, conditional and unconditional in one batch; one pass only where nothing is guided.

    implied(output, x): the noise that an output stands for.
    """
    scale = guidance.at(t)
    if scale is None:
        return implied(single()(x, r).astype("float32"), x)
    outputs = double()(paddle.concat([x, x]), paddle.concat([r, r])).astype("float32").chunk(2)
    conditional, unconditional = (implied(output, x) for output in outputs)
    return guide(conditional, unconditional, scale, guidance.rho, guidance.whole_batch)


def _stacked(conditions: dict, unconditional: dict) -> dict:
    if set(conditions) != set(unconditional):
        raise ValueError(
            f"Conditions {sorted(conditions)} and unconditional {sorted(unconditional)} must name the same."
        )
    return {name: paddle.concat([conditions[name], unconditional[name]]) for name in conditions}
