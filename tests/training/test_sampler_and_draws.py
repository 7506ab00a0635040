"""The order of a run and the random numbers of its steps: functions of the seed, disjoint over ranks, resumable."""

import numpy as np
import pytest

from ldm.training.draws import draw, dropout_seed
from ldm.training.sampler import RunSampler

DATASET = list(range(10))


def stream(batch_size, total, seed=3, replicas=1, rank=0, consumed=0):
    sampler = RunSampler(DATASET, batch_size, total, seed, replicas, rank)
    sampler.set_epoch(consumed_samples=consumed)
    return list(sampler)


def test_every_epoch_is_a_new_permutation_and_every_batch_is_full():
    flat = np.concatenate(stream(4, 10))
    epochs = flat.reshape(4, 10)
    assert all(sorted(epoch) == DATASET for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4
    assert {len(batch) for batch in stream(4, 10)} == {4}


def test_the_seed_decides_the_order():
    assert stream(4, 10) == stream(4, 10)
    assert stream(4, 10, seed=3) != stream(4, 10, seed=4)


def test_restart_continues_where_it_stopped():
    assert stream(4, 10, consumed=12) == stream(4, 10)[3:]


def test_two_ranks_see_what_one_rank_of_twice_the_batch_sees():
    one = stream(4, 5)
    ranks = [stream(2, 5, replicas=2, rank=rank) for rank in (0, 1)]
    assert one == [first + second for first, second in zip(*ranks)]


def test_draws_depend_on_seed_step_and_sample_alone():
    whole = draw(1, 2, 0, [5, 6], (16, 3, 3), 0.5, 0.5)
    single = draw(1, 2, 0, [6], (16, 3, 3), 0.5, 0.5)
    assert np.array_equal(whole.epsilon[1].numpy(), single.epsilon[0].numpy())
    assert float(whole.t[1]) == float(single.t[0])
    others = [
        draw(1, 3, 0, [6], (16, 3, 3), 0.5, 0.5),
        draw(2, 2, 0, [6], (16, 3, 3), 0.5, 0.5),
        draw(1, 2, 1, [6], (16, 3, 3), 0.5, 0.5),
    ]
    assert all(float(other.t[0]) != float(single.t[0]) for other in others)
    assert dropout_seed(1, 2, 0, 0) == dropout_seed(1, 2, 0, 0) != dropout_seed(1, 2, 0, 1)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 1.0])
def test_shares_of_dropped_captions_and_used_images(share):
    draws = draw(0, 0, 0, range(4000), (1, 1, 1), share, share)
    for flags in (draws.caption_dropped, draws.image_used):
        assert abs(float(flags.astype("float32").mean()) - share) < 0.015
    assert 0.001 <= float(draws.t.min()) and float(draws.t.max()) <= 1.0
    both = (draws.caption_dropped & draws.image_used).astype("float32").mean()
    assert abs(float(both) - share**2) < 0.015  # independent of each other
