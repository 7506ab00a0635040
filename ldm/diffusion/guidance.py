"""Classifier-free guidance with the standard deviation rescaled (arXiv:2207.12598; rescale: arXiv:2305.08891)."""

import math
from dataclasses import dataclass
from typing import Union


@dataclass(frozen=True)
class Guidance:
    """How strongly and when to guide.

    scale: a number, or (at t = 1, at t = 0) blended linearly in t. rho: share of the rescaled prediction.
    whole_batch: take the standard deviation over the whole batch as the release does, which makes an image depend
    on its batch mates; the default takes it per sample. (t_stop, t_start): guide only for t in [t_stop, t_start].
    """

    scale: Union[float, tuple] = 4.0
    rho: float = 0.7
    whole_batch: bool = False
    t_stop: float = 0.0
    t_start: float = 1.0

    def __post_init__(self):
        if not 0 <= self.rho <= 1:
            raise ValueError(f"Guidance rho must be in [0, 1], got {self.rho}.")

    def at(self, t: float):
        """The scale at time t, or None where no guidance is wanted and the unconditional pass can be skipped.

        At a scale of 1 the guided prediction is the conditional one (its rescale is the identity).
        """
        if not self.t_stop <= t <= self.t_start:
            return None
        scale = self.scale
        if isinstance(scale, (tuple, list)):
            scale = scale[0] * t + scale[1] * (1 - t)
        return None if scale == 1 else scale


def guide(conditional, unconditional, scale: float, rho: float, whole_batch: bool):
    """unconditional + scale * (conditional - unconditional), blended by rho with itself at conditional's std."""
    guided = unconditional + scale * (conditional - unconditional)
    if rho == 0:
        return guided
    axes = list(range(0 if whole_batch else 1, guided.ndim))
    rescaled = guided * (_std(conditional, axes) / (_std(guided, axes) + 1e-9))
    return rho * rescaled + (1 - rho) * guided


def _std(x, axes):
    """Unbiased standard deviation over `axes`, kept as axes of size 1 (Paddle's own `std` warns on every call)."""
    count = math.prod(x.shape[axis] for axis in axes)
    deviation = x - x.mean(axis=axes, keepdim=True)
    return ((deviation * deviation).sum(axis=axes, keepdim=True) / (count - 1)).sqrt()
