"""One step of each sampler: from (x, x0, epsilon) at one noise level to x at the next, less noisy one.

`levels` are (alpha, sigma) pairs broadcastable to x; `noise` is called for fresh standard normal noise like x.
"""

from ldm.diffusion.schedule import alpha_sigma, per_sample


def ddpm(x0, epsilon, level, next_level, noise):
    """Ancestral sampling (DDPM, arXiv:2006.11239)."""
    (alpha, sigma), (next_alpha, next_sigma) = level, next_level
    added = (next_sigma**2 / sigma**2).sqrt() * (1 - alpha**2 / next_alpha**2).sqrt()
    return next_alpha * x0 + (next_sigma**2 - added**2).sqrt() * epsilon + added * noise()


def ddim(x0, epsilon, level, next_level, noise):
    """Deterministic sampling (DDIM, arXiv:2010.02502)."""
    next_alpha, next_sigma = next_level
    return next_alpha * x0 + next_sigma * epsilon


def lcm(x0, epsilon, level, next_level, noise):
    """Consistency sampling: the predicted x0, noised anew (LCM, arXiv:2310.04378)."""
    next_alpha, next_sigma = next_level
    return next_alpha * x0 + next_sigma * noise()


SAMPLERS = {"ddpm": ddpm, "ddim": ddim, "lcm": lcm}


def levels_at(log_snr, like):
    """(alpha, sigma) of log_snr (B,), shaped to scale `like` (B, C, H, W)."""
    return tuple(per_sample(scale, like) for scale in alpha_sigma(log_snr))


def find_sampler(name: str):
    """The sampler called `name`; ValueError names the known ones."""
    if name not in SAMPLERS:
        raise ValueError(f"Unknown sampler {name!r}: choose one of {', '.join(SAMPLERS)}.")
    return SAMPLERS[name]
