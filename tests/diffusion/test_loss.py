"""The training objective: its value, and that mixed precision can reach the network but nothing around it."""

from contextlib import contextmanager

import numpy as np
import paddle

from ldm.diffusion import loss
from ldm.diffusion.loss import denoising_objective, p2_weight
from ldm.diffusion.schedule import CosineSchedule


def inputs():
    return paddle.randn([3, 2, 4, 4]), paddle.to_tensor([0.2, 0.5, 0.9]), paddle.randn([3, 2, 4, 4])


def test_value_is_the_weighted_mean_of_per_sample_errors():
    x0, t, epsilon = inputs()
    result = denoising_objective(lambda x, r: x * 0 + 0.25, x0, {}, t, epsilon, p2_weight)
    per_sample = ((0.25 - epsilon.numpy()) ** 2).mean(axis=(1, 2, 3))
    snr = np.exp(CosineSchedule().log_snr(t).numpy().astype("float64"))
    assert np.allclose(result.per_sample.numpy(), per_sample, rtol=1e-5)
    assert np.isclose(float(result.loss), (per_sample / (1 + snr)).mean(), rtol=1e-5)


def test_only_the_network_runs_outside_the_float32_region(monkeypatch):
    inside = []

    @contextmanager
    def region():
        inside.append(True)
        yield
        inside.pop()

    def guarded(function):
        def call(*args):
            assert inside, f"{function} is exposed to autocast"
            return function(*args)

        return call

    monkeypatch.setattr(loss, "float32_region", region)
    for name in ("diffuse", "squared_error"):
        monkeypatch.setattr(loss, name, guarded(getattr(loss, name)))
    schedule = CosineSchedule()
    for name in ("log_snr", "noise_condition"):
        monkeypatch.setattr(CosineSchedule, name, lambda self, x, f=getattr(CosineSchedule, name): guarded(f)(self, x))
    called = []

    def network(x, r):
        assert not inside, "the network must see the autocast it was asked to run in"
        called.append(r)
        return x

    x0, t, epsilon = inputs()
    denoising_objective(network, x0, {}, t, epsilon, guarded(p2_weight), schedule)
    assert called[0].dtype == paddle.float32
