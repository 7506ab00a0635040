"""The training objective of both stages: squared errors weighted over noise levels (release: `forward_pass`)."""

from dataclasses import dataclass

import paddle

from ldm.common.precision import float32_region
from ldm.diffusion.loss import squared_error
from ldm.diffusion.prediction import prediction_of
from ldm.diffusion.schedule import CosineSchedule, diffuse


@dataclass(frozen=True)
class Objective:
    """A step's loss and what it was made of."""

    loss: paddle.Tensor  # () what is differentiated: the weighted mean over the batch
    per_sample: paddle.Tensor  # (B,) unweighted mean squared errors
    log_snr: paddle.Tensor  # (B,) the noise levels they were taken at

    def detached(self):
        """The same numbers without what they were computed from."""
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
