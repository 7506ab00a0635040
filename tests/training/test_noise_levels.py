"""The weights over noise levels: their formulas, the adaptive one's order of updates and its state."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ldm.diffusion.loss import AdaptiveWeight, min_snr_weight, p2_weight, uniform_weight
from ldm.diffusion.schedule import CosineSchedule
from ldm.training.noise_levels import ADAPTIVE_FILE, Weighting

LOG_SNR = np.linspace(-9, 9, 37).astype(np.float32)


def model(prediction_type="epsilon", **options):
    unet = SimpleNamespace(prediction_type=prediction_type)
    return SimpleNamespace(loss_weight=p2_weight, objective=None, unet=unet, **options)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_is_the_papers_formula(gamma):
    snr = np.exp(LOG_SNR.astype(np.float64))
    np.testing.assert_allclose(
        min_snr_weight(paddle.to_tensor(LOG_SNR), gamma).numpy(), np.minimum(snr, gamma) / snr, rtol=1e-5
    )


def test_min_snr_weighs_images_alike_whatever_is_predicted():
    log_snr, velocity, noise = paddle.to_tensor(LOG_SNR), model("v_prediction"), model()
    for network in (velocity, noise):
        Weighting(network, "min_snr", 5.0)
    snr = np.exp(LOG_SNR.astype(np.float64))
    # An error of x0 is (SNR + 1) times as large squared in the velocity, SNR times in the noise
    by_velocity, by_noise = velocity.loss_weight(log_snr) * (snr + 1), noise.loss_weight(log_snr) * snr
    np.testing.assert_allclose(by_velocity.numpy(), by_noise.numpy(), rtol=1e-5)


def test_the_flag_sets_the_models_weight():
    log_snr, network = paddle.to_tensor(LOG_SNR), model()
    for name, expected in (("p2", p2_weight(log_snr)), ("none", uniform_weight(log_snr))):
        Weighting(network, name, 5.0)
        assert np.array_equal(network.loss_weight(log_snr).numpy(), expected.numpy())
    Weighting(network, "min_snr", 2.0)
    assert np.array_equal(network.loss_weight(log_snr).numpy(), min_snr_weight(log_snr, 2.0).numpy())
    Weighting(network, "p2", p2_shift=3.0)
    np.testing.assert_allclose(network.loss_weight(log_snr).numpy(), 1 / (1 + 9 * np.exp(LOG_SNR)), rtol=1e-5)
    weighting = Weighting(network, "adaptive", 5.0)
    assert weighting.adaptive is network.loss_weight
    with weighting.comparable():
        assert network.loss_weight is p2_weight
    assert weighting.adaptive is network.loss_weight


def test_models_without_noise_levels_refuse_other_weights():
    Weighting(None, "p2", 5.0)
    with pytest.raises(ValueError, match="--loss_weight adaptive"):
        Weighting(None, "adaptive", 5.0)
    with pytest.raises(ValueError, match="--p2_shift 2"):
        Weighting(None, "p2", p2_shift=2.0)
    with pytest.raises(ValueError, match="--noise_shift 3"):
        Weighting(None, "p2", noise_shift=3.0)


def test_the_shift_is_the_models_except_where_runs_are_compared():
    network = model()
    weighting = Weighting(network, "none", noise_shift=4.0)
    assert network.schedule == CosineSchedule(shift=4.0)
    with weighting.comparable():
        assert network.schedule == CosineSchedule() and network.loss_weight is p2_weight
    assert network.schedule == CosineSchedule(shift=4.0) and network.loss_weight is uniform_weight


def step_of(weighting, network, *batches):
    for log_snr, losses in batches:
        network.objective = SimpleNamespace(log_snr=paddle.to_tensor(log_snr), per_sample=paddle.to_tensor(losses))
        weighting.collect()
    weighting.update()


def test_accumulated_batches_count_as_one_in_their_order():
    levels, losses = np.float32([-3, 1, 1, 4]), np.float32([0.5, 2, 3, 0.25])
    networks = [model(), model()]
    one, two = (Weighting(network, "adaptive", 5.0) for network in networks)
    step_of(one, networks[0], (levels, losses))
    step_of(two, networks[1], (levels[:2], losses[:2]), (levels[2:], losses[2:]))
    assert np.array_equal(one.adaptive.losses, two.adaptive.losses)
    expected = AdaptiveWeight()
    expected.update(paddle.to_tensor(levels), paddle.to_tensor(losses))
    assert np.array_equal(one.adaptive.losses, expected.losses) and (expected.losses != 1).sum() == 3


def test_the_buckets_stay_within_a_step_and_when_it_is_not_used():
    network = model()
    weighting = Weighting(network, "adaptive", 5.0)
    network.objective = SimpleNamespace(log_snr=paddle.to_tensor([0.0]), per_sample=paddle.to_tensor([9.0]))
    weighting.collect()
    assert (weighting.adaptive.losses == 1).all()
    weighting.update(use=False)
    weighting.update()
    assert (weighting.adaptive.losses == 1).all()


def test_the_state_is_saved_bit_for_bit(tmp_path):
    network = model()
    weighting = Weighting(network, "adaptive", 5.0)
    for seed in range(5):
        generator = np.random.default_rng(seed)
        step_of(weighting, network, (generator.normal(0, 3, 8).astype("float32"), generator.random(8, "float32")))
    weighting.save(tmp_path)
    other = Weighting(model(), "adaptive", 5.0)
    other.load(tmp_path / ADAPTIVE_FILE)
    assert other.adaptive.losses.tobytes() == weighting.adaptive.losses.tobytes()
    assert other.adaptive.edges.tobytes() == weighting.adaptive.edges.tobytes()
