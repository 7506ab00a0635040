"""The order of a run and the random numbers of its steps: functions of the seed, disjoint over ranks, resumable."""

import numpy as np
import paddle
import pytest

from ldm.data.buckets import AspectBuckets
from ldm.training.batches.draws import DecoderDraws, PriorDraws, RandomCrop, dropout_seed, streams
from ldm.training.batches.order import RunSampler, fixed_batches


class Samples(list):
    """What RunSampler asks of a SampleSet."""

    mix = buckets = fixed_buckets = None


DATASET = Samples(range(10))


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


def test_squares_reach_every_place():
    _, draws = decoder_draws(0, range(400), crop=RandomCrop(side=128, image=160, step=8))
    corners = draws["corners"].numpy()
    assert draws["epsilon"].shape == [400, 4, 32, 32]
    assert set(corners.ravel()) == {0, 8, 16, 24, 32} and len(set(map(tuple, corners))) == 25


def test_squares_that_cut_a_position_of_the_stem_are_refused():
    with pytest.raises(ValueError, match="--random_crop 72: .* multiple of 16"):
        RandomCrop(side=72, image=256, step=16)


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


class Bucketed(Samples):
    """What RunSampler looks at in a dataset with buckets."""

    def __init__(self, sizes, random_share=0.05):
        super().__init__(range(len(sizes)))
        self.buckets = AspectBuckets(128, np.array(sizes), random_share)


SIZES = [(100, 100)] * 23 + [(200, 100)] * 10 + [(100, 300)] * 3


def bucketed(batch_size, total, seed=3, replicas=1, rank=0, consumed=0, dataset=None):
    sampler = RunSampler(Bucketed(SIZES) if dataset is None else dataset, batch_size, total, seed, replicas, rank)
    sampler.set_epoch(consumed_samples=consumed)
    return [[(int(v), v.seed, v.epoch, v.bucket) for v in batch] for batch in sampler]


def test_every_batch_is_full_and_of_one_bucket():
    batches = bucketed(4, 200)
    assert len(batches) == 200 and {len(batch) for batch in batches} == {4}
    assert all(len({bucket for *_, bucket in batch}) == 1 for batch in batches)
    first = [batch[0][3] for batch in batches[:8]]
    assert len(set(first)) > 1  # shapes are mixed, not one after the other


def test_nothing_is_lost_and_nothing_comes_twice():
    """Of every epoch before the last ones each sample comes once; what is missing waits in buckets, fewer than a batch."""
    batches = bucketed(4, 298, dataset=Bucketed(SIZES, random_share=0.0))
    seen = [(epoch, index) for batch in batches for index, _, epoch, _ in batch]
    assert len(set(seen)) == len(seen)
    last = max(epoch for epoch, _ in seen)
    missing = {(epoch, index) for epoch in range(last) for index in range(len(SIZES))} - set(seen)
    assert len(missing) < 4 * 3 and all(epoch > last - 3 for epoch, _ in missing)
    counts = np.bincount([index for _, index in seen])
    assert counts.max() - counts[counts > 0].min() <= 3


def test_rare_shapes_are_seen_as_often_as_others():
    seen = np.bincount([index for batch in bucketed(8, 450) for index, *_ in batch], minlength=len(SIZES))
    assert abs(seen[-3:].mean() / seen.mean() - 1) < 0.15


def test_buckets_restart_anywhere_and_depend_on_the_seed():
    whole = bucketed(4, 60)
    for done in (0, 1, 17, 59, 60):
        assert bucketed(4, 60, consumed=4 * done) == whole[done:]
    assert bucketed(4, 60, seed=4) != whole


def test_ranks_share_a_bucket_and_no_sample():
    one = bucketed(4, 50)
    ranks = [bucketed(2, 50, replicas=2, rank=rank) for rank in (0, 1)]
    assert one == [first + second for first, second in zip(*ranks)]
    for first, second in zip(*ranks):
        assert first[0][3] == second[0][3]
        assert not {view[:3:2] for view in first} & {view[:3:2] for view in second}


def test_views_know_their_epoch():
    sampler = RunSampler(DATASET, 4, 10, 3)
    views = [view for batch in sampler for view in batch]
    assert [view.epoch for view in views] == [position // 10 for position in range(40)]
    assert {(view.seed, view.bucket) for view in views} == {(3, -1)}


def test_fixed_batches_can_be_stacked():
    assert fixed_batches(DATASET, 5, 2) == [[0, 1], [2, 3], [4]]
    dataset = Bucketed([(100, 100), (200, 100), (100, 100), (100, 100)])
    assert fixed_batches(dataset, 4, 2) == [[0, 1], [2, 3]]  # its plain items are all square
    dataset.fixed_buckets = dataset.buckets
    assert sorted(fixed_batches(dataset, 4, 2)) == [[0, 2], [1], [3]]
