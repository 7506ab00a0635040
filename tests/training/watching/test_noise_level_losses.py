"""Losses by noise level: binned by time, summed without weights, non-finite ones left out, equal on any number of ranks."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ldm.diffusion.schedule import CosineSchedule
from ldm.training.watching.noise_level_losses import NoiseLevelLosses, loss_names


def objective(times, losses):
    return SimpleNamespace(
        log_snr=CosineSchedule().log_snr(paddle.to_tensor(times)), per_sample=paddle.to_tensor(losses)
    )


def test_names_say_what_they_are():
    names = loss_names()
    assert names[0] == "loss_t00_10" and names[-1] == "loss_t90_100" and len(set(names)) == 10


def test_every_sample_counts_at_its_time():
    rng = np.random.default_rng(0)
    times, losses = (rng.uniform(0.001, 1, 400).astype("float32") for _ in range(2))
    losses_by_level = NoiseLevelLosses()
    for part in np.split(np.arange(400), 8):
        losses_by_level.collect(objective(times[part], losses[part]))
    found = losses_by_level.take()
    for index, name in enumerate(loss_names()):
        inside = (times >= index / 10) & (times < (index + 1) / 10)
        assert inside.sum() > 20 and found[name] == pytest.approx(losses[inside].mean(), abs=1e-5), name


def test_what_was_not_seen_is_not_logged_and_a_new_interval_begins():
    losses_by_level = NoiseLevelLosses()
    assert losses_by_level.take() == {}
    losses_by_level.collect(None)
    losses_by_level.collect(objective([0.05, 0.97], [2.0, 4.0]))
    assert losses_by_level.take() == {"loss_t00_10": 2.0, "loss_t90_100": 4.0}
    losses_by_level.collect(objective([0.5001], [1.0]))
    assert losses_by_level.take() == {"loss_t50_60": 1.0}


def test_a_non_finite_loss_does_not_spoil_the_mean():
    losses_by_level = NoiseLevelLosses()
    losses_by_level.collect(objective([0.31, 0.32, 0.33], [1.0, float("nan"), 3.0]))
    assert losses_by_level.take() == {"loss_t30_40": 2.0}


def test_the_means_are_over_all_ranks(monkeypatch):
    """The other rank's sums arrive as all_reduce brings them; two real ranks are compared in test_two_ranks.py."""
    own, other = NoiseLevelLosses(), NoiseLevelLosses()
    own.collect(objective([0.05, 0.05], [1.0, 2.0]))
    other.collect(objective([0.05, 0.95], [6.0, 5.0]))
    monkeypatch.setattr(paddle.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(paddle.distributed, "all_reduce", lambda sums: sums.set_value(sums + other.sums))
    assert own.take() == {"loss_t00_10": 3.0, "loss_t90_100": 5.0}
