"""The training loss of both stages: squared errors weighted over noise levels (release: `forward_pass`).

Weights: P2 arXiv:2204.00227, min-SNR arXiv:2303.09556, adaptive as in the release.
"""

from dataclasses import dataclass

import numpy as np
import paddle

from ldm.common.precision import float32_region
from ldm.diffusion.prediction import prediction_of
from ldm.diffusion.schedule import CosineSchedule, diffuse, linspace


@dataclass(frozen=True)
class Objective:
    """A step's loss and its parts."""

    loss: paddle.Tensor  # () what is differentiated: the weighted mean over the batch
    per_sample: paddle.Tensor  # (B,) unweighted mean squared errors
    log_snr: paddle.Tensor  # (B,) the noise levels they were taken at

    def detached(self):
        """The same values without gradients."""
        return Objective(self.loss.detach(), self.per_sample.detach(), self.log_snr.detach())


def denoising_objective(model, x0, conditions: dict, t, epsilon, weight, schedule=CosineSchedule()):
    """Noise x0 (B, C, H, W) with epsilon to times t (B,), let `model` predict it (or the velocity), weigh the squared error.

    weight(log_snr) -> (B,), for instance `p2_weight`. Everything but the model is float32 under any autocast: of a
    float16 noise level the network's phases would be wrong by radians.
    """
    with float32_region():
        log_snr = schedule.log_snr(t)
        noised, r = diffuse(x0, epsilon, log_snr), schedule.noise_condition(log_snr)
    prediction = model(noised, r, **conditions)
    with float32_region():
        per_sample = squared_error(prediction, prediction_of(model).target(x0, epsilon, log_snr))
        return Objective((per_sample * weight(log_snr)).mean(), per_sample, log_snr)


def squared_error(prediction, target):
    """Mean squared error per sample, float32: (B, C, H, W) twice -> (B,)."""
    difference = prediction.astype("float32") - target.astype("float32")
    return (difference * difference).mean(axis=list(range(1, difference.ndim)))


def p2_weight(log_snr, shift: float = 1.0):
    """1 / (1 + SNR): high noise levels, which decide composition, count most. log_snr of any shape.

    `shift` evaluates it at log_snr + 2 ln(shift). On errors of the velocity it makes errors of x0.
    """
    return 1 / (1 + (log_snr + 2 * np.log(shift)).exp())


def min_snr_weight(log_snr, gamma: float = 5.0, prediction_type: str = "epsilon"):
    """min(SNR, gamma) / SNR, / (SNR + 1) for a velocity: low noise levels, which teach little, count less.

    log_snr of any shape.
    """
    weight = (np.log(gamma) - log_snr).clip(max=0.0).exp()
    return weight if prediction_type == "epsilon" else weight * paddle.nn.functional.sigmoid(log_snr)


def uniform_weight(log_snr):
    """1 at every noise level. log_snr of any shape."""
    return paddle.ones_like(log_snr)


class AdaptiveWeight:
    """Weight = 1 / running loss of the noise level's bucket, so that every level contributes alike.

    300 buckets over log_snr in [-10, 10], all starting at 1; `state` goes into the checkpoint.
    """

    def __init__(self, buckets=300, log_snr_range=(-10.0, 10.0), weight_range=(1e-7, 1e7), decay=0.99):
        self.edges = linspace(*log_snr_range, buckets - 1)
        self.losses = np.ones(buckets, np.float32)
        self.weight_range, self.decay = weight_range, np.float32(decay)

    def buckets(self, log_snr) -> np.ndarray:
        """log_snr (B,) -> bucket index (B,)."""
        return np.searchsorted(self.edges, np.asarray(log_snr, np.float32), side="left")

    def __call__(self, log_snr):
        """log_snr (B,) -> weights (B,), float32."""
        losses = self.losses[self.buckets(log_snr.numpy())]
        return paddle.to_tensor(np.clip(1 / losses, *self.weight_range).astype(np.float32))

    def update(self, log_snr, loss):
        """Move the buckets of log_snr (B,) towards the unweighted losses (B,) of a step."""
        index = self.buckets(log_snr.numpy())
        loss = np.asarray(loss.detach().astype("float32").numpy())
        self.losses[index] = self.losses[index] * self.decay + loss * (np.float32(1) - self.decay)

    def state(self) -> dict:
        return {"edges": self.edges.tolist(), "losses": self.losses.tolist()}

    def load_state(self, state: dict):
        edges, losses = (np.asarray(state[key], np.float32) for key in ("edges", "losses"))
        if edges.shape != self.edges.shape or losses.shape != self.losses.shape:
            raise ValueError(f"Adaptive weight state has {losses.size} buckets, expected {self.losses.size}.")
        if not (np.isfinite(losses).all() and (losses >= 0).all() and np.array_equal(edges, self.edges)):
            raise ValueError("Adaptive weight state has other buckets, or losses that are not finite.")
        self.edges, self.losses = edges, losses
