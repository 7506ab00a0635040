"""The cosine noise schedule and what follows from a noise level (Nichol & Dhariwal, arXiv:2102.09672; release `gdf`).

A noise level is a log_snr; alpha^2 = sigmoid(log_snr) and sigma^2 = 1 - alpha^2 (variance preserving).
Everything is float32, in the release's order of operations: near t = 0 one more digit would be another number.
"""

import math
from dataclasses import dataclass

import numpy as np
import paddle


def _cos(angle):
    """Cosine of float32 angles, rounded once: Paddle's own float32 one is off in the last place for every fourth angle."""
    return paddle.cos(angle.astype("float64")).astype("float32")


@dataclass(frozen=True)
class CosineSchedule:
    """log_snr over time t in [0, 1], t = 1 being pure noise."""

    s: float = 0.008
    variance_range: tuple = (0.0001, 0.9999)
    shift: float = 1.0  # log_snr += 2 ln(1 / shift): more noise at the same t, for larger latents

    @property
    def _variance_at_zero(self):
        s = paddle.to_tensor(self.s, dtype="float32")
        return _cos(s / (1 + s) * math.pi * 0.5) ** 2

    def _unshifted(self, t):
        s = paddle.to_tensor(self.s, dtype="float32")
        variance = _cos((s + t.clip(0, 1)) / (1 + s) * math.pi * 0.5).clip(0, 1) ** 2 / self._variance_at_zero
        variance = variance.clip(*self.variance_range)
        return (variance / (1 - variance)).log()

    @property
    def limits(self) -> tuple:
        """(lowest, highest) log_snr, those of the unshifted schedule at t = 1 and t = 0: about +-9.21024."""
        low, high = self._unshifted(paddle.to_tensor([1.0, 0.0])).tolist()
        return low, high

    def log_snr(self, t):
        """t in [0, 1], any shape -> log_snr of the same shape."""
        if self.shift <= 0:
            raise ValueError(f"shift must be positive, got {self.shift}.")
        value = self._unshifted(t.astype("float32"))
        if self.shift != 1:
            value = value + 2 * math.log(1 / self.shift)
        return value.clip(*self.limits)

    def noise_condition(self, log_snr):
        """The r in [0, 1] that the network sees for a log_snr; the inverse of the unshifted schedule."""
        s = paddle.to_tensor(self.s, dtype="float32")
        variance = paddle.nn.functional.sigmoid(log_snr).clip(0, 1)
        angle = (variance * self._variance_at_zero).sqrt().acos()
        return (angle / (math.pi * 0.5) * (1 + s) - s).clip(0, 1)


def alpha_sigma(log_snr):
    """Scales of signal and noise at a log_snr, both of its shape: noised = alpha * x0 + sigma * epsilon."""
    squared = paddle.nn.functional.sigmoid(log_snr)
    return squared.sqrt(), (1 - squared).sqrt()


def scales(log_snr, like):
    """(alpha, sigma) of log_snr (B,), each (B, 1, 1, 1) to scale `like` (B, C, H, W); float32."""
    return tuple(scale.reshape([-1] + [1] * (like.ndim - 1)).astype("float32") for scale in alpha_sigma(log_snr))


def training_times(uniform):
    """Uniform draws in [0, 1) -> training times: 1 - u + 0.001, kept in [0.001, 1]."""
    return (1 - uniform + 0.001).clip(0.001, 1.0)


def diffuse(x0, epsilon, log_snr):
    """Noise x0 (B, C, H, W) with epsilon to the noise level log_snr (B,)."""
    alpha, sigma = scales(log_snr, x0)
    return x0 * alpha + epsilon * sigma


def undiffuse(x, epsilon, log_snr):
    """The x0 that (x, predicted epsilon) (B, C, H, W) imply at the noise level log_snr (B,)."""
    alpha, sigma = scales(log_snr, x)
    return (x - epsilon * sigma) / alpha


def linspace(start: float, stop: float, count: int) -> np.ndarray:
    """`count` values from start to stop, both included: the first half counted from start, the rest back from stop.

    One rounding more or less in a time of sampling grows to 4e-5 over a trajectory.
    """
    start, stop = np.float32(start), np.float32(stop)
    step = np.float64(np.float32((stop - start) / np.float32(max(count - 1, 1))))
    index = np.arange(count)  # float64 products and one rounding at the end: a fused multiply-add
    return np.where(index < count // 2, start + step * index, stop - step * (count - 1 - index)).astype(np.float32)
