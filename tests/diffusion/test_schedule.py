"""The schedule and the loss weights against the formulas in float64."""

import json
import math

import numpy as np
import paddle
import pytest
from helpers import array, distance

from ldm.diffusion.loss import AdaptiveWeight, denoising_objective, p2_weight, squared_error
from ldm.diffusion.schedule import CosineSchedule, alpha_sigma, diffuse, training_times, undiffuse

S = 0.008


def log_snr64(t, shift=1.0):
    """The schedule, written out in float64."""
    angle = (S + np.asarray(t, "float64")) / (1 + S) * math.pi / 2
    variance = np.clip(np.cos(angle) ** 2 / math.cos(S / (1 + S) * math.pi / 2) ** 2, 1e-4, 0.9999)
    return np.clip(np.log(variance / (1 - variance)) + 2 * math.log(1 / shift), -9.21024, 9.21024)


# 1 - variance near t = 0 has lost 3 digits of float32's 7: the schedule is float32 on purpose, as in the release
@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0, 4.0])
def test_log_snr(shift):
    t = np.linspace(0, 1, 101, dtype=np.float32)
    ours = array(CosineSchedule(shift=shift).log_snr(paddle.to_tensor(t)))
    np.testing.assert_allclose(ours, log_snr64(t, shift), atol=2e-3)
    np.testing.assert_allclose(ours[20:], log_snr64(t, shift)[20:], atol=2e-5)
    assert (np.diff(ours) <= 0).all()


def test_limits():
    low, high = CosineSchedule(shift=3.0).limits
    assert abs(low + 9.21024) < 1e-3 and abs(high - 9.21024) < 1e-3
    ends = array(CosineSchedule(shift=3.0).log_snr(paddle.to_tensor([1.0, 0.0])))
    assert ends[0] == low and abs(ends[1] - (high - 2 * math.log(3))) < 1e-5
    assert CosineSchedule(shift=0.1).log_snr(paddle.to_tensor([0.0])).item() == pytest.approx(high)


def test_times_beyond_the_ends_are_the_ends():
    log_snr = array(CosineSchedule().log_snr(paddle.to_tensor([-0.5, 0.0, 1.0, 1.5])))
    assert log_snr[0] == log_snr[1] and log_snr[2] == log_snr[3]


@pytest.mark.parametrize("shift", [0, -1.0])
def test_impossible_shift(shift):
    with pytest.raises(ValueError, match=f"shift must be positive, got {shift}"):
        CosineSchedule(shift=shift).log_snr(paddle.to_tensor([0.5]))


def test_noise_condition_inverts_the_schedule():
    t = np.linspace(0.02, 0.98, 97, dtype=np.float32)  # between the clamps
    schedule = CosineSchedule()
    ours = array(schedule.noise_condition(schedule.log_snr(paddle.to_tensor(t))))
    # acos is steep near 1, so float32 loses digits towards t = 0
    np.testing.assert_allclose(ours, t, atol=2e-4)
    np.testing.assert_allclose(ours[20:], t[20:], atol=5e-6)


def test_noise_condition_stays_in_range():
    r = array(CosineSchedule().noise_condition(paddle.to_tensor([-50.0, -9.3, 0.0, 9.3, 50.0])))
    assert (r >= 0).all() and (r <= 1).all() and (np.diff(r) <= 0).all() and np.isfinite(r).all()


def test_scales():
    log_snr = np.linspace(-9, 9, 37)
    alpha, sigma = (array(x) for x in alpha_sigma(paddle.to_tensor(log_snr, dtype="float32")))
    np.testing.assert_allclose(alpha, np.sqrt(1 / (1 + np.exp(-log_snr))), rtol=1e-5)
    np.testing.assert_allclose(sigma, np.sqrt(1 / (1 + np.exp(log_snr))), rtol=1e-3)  # 1 - alpha^2 cancels near 9
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-6)


def test_undiffuse_inverts_diffuse():
    x0, epsilon = paddle.randn([3, 2, 4, 4]), paddle.randn([3, 2, 4, 4])
    log_snr = paddle.to_tensor([-4.0, 0.0, 6.0])
    alpha = np.sqrt(1 / (1 + np.exp(-array(log_snr))))[:, None, None, None]
    noised = diffuse(x0, epsilon, log_snr)
    assert distance(noised, alpha * array(x0) + np.sqrt(1 - alpha**2) * array(epsilon)) < 1e-6
    assert distance(undiffuse(noised, epsilon, log_snr), x0) < 1e-5


def test_training_times():
    t = array(training_times(paddle.to_tensor([0.0, 0.25, 0.9999999])))
    np.testing.assert_allclose(t, [1.0, 0.751, 0.001], atol=1e-6)


def test_p2_weight():
    log_snr = np.array([-5.0, 0.0, 3.0])
    ours = p2_weight(paddle.to_tensor(log_snr, dtype="float32"))
    assert distance(ours, 1 / (1 + np.exp(log_snr))) < 1e-6
    shifted = p2_weight(paddle.to_tensor(log_snr, dtype="float32"), shift=2.0)
    assert distance(shifted, 1 / (1 + 4 * np.exp(log_snr))) < 1e-6


def test_objective_is_weighted_per_sample_and_float32():
    calls = []

    def model(x, r, bias):
        calls.append((x, r))
        return (x * 0 + bias).astype("float16")

    x0, epsilon, t = paddle.randn([3, 2, 4, 4]), paddle.randn([3, 2, 4, 4]), paddle.to_tensor([0.1, 0.5, 0.9])
    objective = denoising_objective(model, x0, {"bias": paddle.to_tensor(0.25)}, t, epsilon, p2_weight)
    per_sample = ((array(epsilon) - 0.25) ** 2).mean(axis=(1, 2, 3))
    assert objective.loss.dtype == paddle.float32 and objective.loss.shape == []
    assert distance(objective.per_sample, per_sample) < 1e-6
    assert distance(objective.loss, (per_sample / (1 + np.exp(log_snr64(array(t))))).mean()) < 1e-5
    ((x, r),) = calls
    assert distance(x, diffuse(x0, epsilon, objective.log_snr)) == 0
    np.testing.assert_allclose(array(r), array(t), atol=1e-4)


def test_squared_error_keeps_samples_apart():
    prediction, epsilon = (
        paddle.zeros([2, 1, 2, 2]),
        paddle.concat([paddle.zeros([1, 1, 2, 2]), paddle.ones([1, 1, 2, 2])]),
    )
    assert squared_error(prediction, epsilon).tolist() == [0.0, 1.0]


def test_adaptive_weight_follows_its_formula():
    weight, log_snr = AdaptiveWeight(), paddle.to_tensor([-12.0, 0.05, 0.06, 12.0])
    assert weight(log_snr).tolist() == [1.0] * 4
    weight.update(log_snr, paddle.to_tensor([3.0, 2.0, 2.0, 0.5]))
    expected = 1 / (0.99 + 0.01 * np.array([3.0, 2.0, 2.0, 0.5]))
    assert distance(weight(log_snr), expected) < 1e-6
    assert weight.buckets([-12.0, 12.0]).tolist() == [0, 299]
    assert (weight.losses != 1).sum() == 3  # two of the four share a bucket


def test_adaptive_weight_is_clamped():
    weight = AdaptiveWeight(weight_range=(0.5, 2.0))
    for loss in (100.0, 0.0):
        for _ in range(700):  # 0.99^700 is 0.001
            weight.update(paddle.to_tensor([0.0]), paddle.to_tensor([loss]))
        assert weight(paddle.to_tensor([0.0])).item() == (0.5 if loss else 2.0)


def test_adaptive_weight_state_round_trip():
    weight, log_snr = AdaptiveWeight(), paddle.to_tensor([-3.0, 0.0, 3.0])
    for step in range(5):
        weight.update(log_snr, paddle.to_tensor([0.1 * step, 0.7, 1.3]))
    restored = AdaptiveWeight()
    restored.load_state(json.loads(json.dumps(weight.state())))
    for other in (weight, restored):
        other.update(log_snr, paddle.to_tensor([0.3, 0.2, 0.1]))
    np.testing.assert_array_equal(restored.losses, weight.losses)
    np.testing.assert_array_equal(restored(log_snr).numpy(), weight(log_snr).numpy())
    with pytest.raises(ValueError, match="100 buckets, expected 300"):
        restored.load_state(AdaptiveWeight(buckets=100).state())
