"""The order of a run and the random numbers of its steps: functions of the seed, disjoint over ranks, resumable."""

import numpy as np
import paddle
import pytest

from ldm.training.draws import DecoderDraws, PriorDraws, dropout_seed, streams
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


def draw(seed, step, micro_step, indices, share=0.5, side=96):
    """The prior's draws for images of `side` pixels."""
    batch = {"images": paddle.zeros([len(indices), 3, side, side])}
    return PriorDraws(16, share, share)(streams(seed, step, micro_step, indices), batch)


def test_draws_depend_on_seed_step_and_sample_alone():
    whole, single = draw(1, 2, 0, [5, 6]), draw(1, 2, 0, [6])
    assert whole["epsilon"].shape == [2, 16, 3, 3]
    assert np.array_equal(whole["epsilon"][1].numpy(), single["epsilon"][0].numpy())
    assert float(whole["t"][1]) == float(single["t"][0])
    others = [draw(1, 3, 0, [6]), draw(2, 2, 0, [6]), draw(1, 2, 1, [6])]
    assert all(float(other["t"][0]) != float(single["t"][0]) for other in others)
    assert dropout_seed(1, 2, 0, 0) == dropout_seed(1, 2, 0, 0) != dropout_seed(1, 2, 0, 1)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 1.0])
def test_shares_of_dropped_captions_and_used_images(share):
    draws = draw(0, 0, 0, range(4000), share, side=32)
    for name in ("caption_dropped", "image_used"):
        assert abs(float(draws[name].astype("float32").mean()) - share) < 0.015
    assert 0.001 <= float(draws["t"].min()) and float(draws["t"].max()) <= 1.0
    both = (draws["caption_dropped"] & draws["image_used"]).astype("float32").mean()
    assert abs(float(both) - share**2) < 0.015  # independent of each other


def decoder_draws(step, indices, **options):
    batch = {"images": paddle.rand([len(indices), 3, 128, 128])}
    draws = DecoderDraws(c_latent=4, c_encoder=16, caption_dropout=0.05, **options)
    return batch, draws(streams(3, step, 0, indices), batch)


def test_the_encoder_sees_one_scale_per_batch_between_the_bounds():
    sides = [decoder_draws(step, [0, 1])[1]["encoder_noise"].shape[2] for step in range(200)]
    assert set(sides) == {2, 3}  # 128 px times (0.5, 1), rounded down to whole cells of 32 px
    assert {decoder_draws(step, [0], encoder_scale=(0.75, 0.75))[1]["encoder_noise"].shape[2] for step in range(9)} == {
        3
    }


def test_random_crops_take_the_batchs_place_and_lie_inside():
    batch, draws = decoder_draws(0, range(8), crop=64)
    assert draws["images"].shape == [8, 3, 64, 64] and draws["epsilon"].shape == [8, 4, 16, 16]
    places = set()
    for whole, cut in zip(batch["images"].numpy(), draws["images"].numpy()):
        found = [(y, x) for y in range(65) for x in range(65) if np.array_equal(whole[:, y : y + 64, x : x + 64], cut)]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) == 8


def test_encoder_latents_are_dropped_and_noised_as_asked():
    _, draws = decoder_draws(0, range(2000), latent_noise=0.1)
    assert abs(float(draws["encoder_dropped"].astype("float32").mean()) - 0.1) < 0.02
    assert abs(float(draws["encoder_noise"].std()) - 0.1) < 0.002


def test_pyramid_noise_has_unit_variance_and_coarse_structure():
    """The mean over an image of independent noise has a standard deviation of 1 / 32; of the pyramid's far more."""
    _, plain = decoder_draws(0, range(400))
    _, pyramid = decoder_draws(0, range(400), pyramid=True)
    for draws, low, high in ((plain, 0.02, 0.05), (pyramid, 0.1, 0.5)):
        assert abs(float((draws["epsilon"] ** 2).mean()) - 1) < 0.05
        assert low < float(draws["epsilon"].mean([2, 3]).std()) < high
