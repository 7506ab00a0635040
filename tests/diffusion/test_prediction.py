"""What networks predict: target and implied noise are inverse, and sampling follows the true noise for either."""

import paddle
import pytest
from helpers import distance

from ldm.diffusion.guidance import Guidance
from ldm.diffusion.loss import denoising_objective, p2_weight
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.prediction import PREDICTIONS, Velocity, prediction_of
from ldm.diffusion.sampling import SamplingSettings, sample
from ldm.diffusion.schedule import CosineSchedule, diffuse, scales
from ldm.networks.unet import PREDICTION_TYPES

SHAPE = (2, 4, 4)


class Oracle:
    """Knows the image, and answers as the prediction type asks."""

    def __init__(self, prediction_type, x0):
        self.prediction_type, self.x0 = prediction_type, x0

    def __call__(self, x, r, shift):
        schedule = CosineSchedule()
        log_snr = schedule.log_snr(r)
        alpha, sigma = scales(log_snr, x)
        x0 = self.x0 + shift
        return prediction_of(self).target(x0, (x - alpha * x0) / sigma, log_snr)


def test_networks_and_diffusion_know_the_same_types():
    assert set(PREDICTIONS) == set(PREDICTION_TYPES)
    assert prediction_of(lambda x, r: x) is PREDICTIONS["epsilon"]


@pytest.mark.parametrize("name", PREDICTIONS)
def test_the_implied_noise_is_the_one_that_was_added(name):
    x0, epsilon, log_snr = paddle.randn([5, *SHAPE]), paddle.randn([5, *SHAPE]), paddle.linspace(-9, 9, 5)
    prediction = PREDICTIONS[name]
    output = prediction.target(x0, epsilon, log_snr)
    assert distance(prediction.epsilon(output, diffuse(x0, epsilon, log_snr), log_snr), epsilon) < 1e-6


def test_velocity_is_the_image_in_pure_noise_and_the_noise_in_the_image():
    x0, epsilon = paddle.randn([2, *SHAPE]), paddle.randn([2, *SHAPE])
    target = Velocity.target(x0, epsilon, paddle.to_tensor([-30.0, 30.0]))
    assert distance(target[0], -x0[0]) < 1e-6
    assert distance(target[1], epsilon[1]) < 1e-6


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_sampling_depends_on_what_is_known_and_not_on_how_it_is_said(scale):
    x0 = paddle.randn([2, *SHAPE])
    results = []
    for name in PREDICTIONS:
        settings = SamplingSettings(num_steps=6, sampler="ddim", guidance=Guidance(scale, rho=0.5))
        conditions, unconditional = {"shift": paddle.zeros([2, 1, 1, 1])}, {"shift": paddle.ones([2, 1, 1, 1])}
        model = Oracle(name, x0 if scale == 1 else paddle.concat([x0, x0]))
        steps = list(sample(model, conditions, unconditional, SHAPE, NoiseStream([1, 2], "noise"), settings))
        results.append(steps[-1].x0)
    assert distance(results[1], results[0]) < 1e-5
    if scale == 1:
        assert distance(results[1], x0) < 1e-4


def test_the_objective_compares_with_the_velocity():
    x0, t, epsilon = paddle.randn([3, *SHAPE]), paddle.to_tensor([0.2, 0.5, 0.9]), paddle.randn([3, *SHAPE])
    model = Oracle("v_prediction", x0)
    objective = denoising_objective(model, x0, {"shift": paddle.zeros([3, 1, 1, 1])}, t, epsilon, p2_weight)
    assert float(objective.per_sample.max()) < 1e-8
    wrong = denoising_objective(model, x0, {"shift": paddle.ones([3, 1, 1, 1])}, t, epsilon, p2_weight)
    # x0 is wrong by 1 everywhere: P2 on the velocity's error is the plain error of x0
    assert abs(float(wrong.loss) - 1) < 1e-4
