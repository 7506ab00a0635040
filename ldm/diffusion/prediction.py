"""What a network's output means: the noise, or the velocity alpha epsilon - sigma x0 (arXiv:2202.00512).

The release's networks predict the noise. At t = 1 that says next to nothing about the image: an error of 1 % in it is one
of 100 % in x0. The velocity is -x0 there, so that composition is learned as directly as detail; the bundled demo model
is made so, since it was trained on two cores.
"""

from ldm.diffusion.schedule import scales


class Epsilon:
    """The noise itself."""

    @staticmethod
    def target(x0, epsilon, log_snr):
        """What the output is compared with in training: x0, epsilon (B, C, H, W) and log_snr (B,) -> (B, C, H, W)."""
        return epsilon

    @staticmethod
    def epsilon(output, x, log_snr):
        """The noise that an output implies for x (B, C, H, W) at log_snr (B,)."""
        return output


class Velocity:
    """alpha epsilon - sigma x0; with alpha^2 + sigma^2 = 1, epsilon is sigma x + alpha v."""

    @staticmethod
    def target(x0, epsilon, log_snr):
        alpha, sigma = scales(log_snr, x0)
        return alpha * epsilon - sigma * x0

    @staticmethod
    def epsilon(output, x, log_snr):
        alpha, sigma = scales(log_snr, x)
        return sigma * x + alpha * output


PREDICTIONS = {"epsilon": Epsilon, "v_prediction": Velocity}  # diffusers' names


def prediction_of(model):
    """What `model` predicts by its attribute `prediction_type`; one without is taken for the release's: the noise."""
    return PREDICTIONS[getattr(model, "prediction_type", "epsilon")]
