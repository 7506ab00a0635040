"""The order of a whole run: shuffled epochs one after the other, a function of the seed alone, resumable anywhere.

Of one set or of two mixed; with aspect buckets every batch is of one shape, shapes mixed as chance mixes the samples.
"""

from collections.abc import Iterator
from typing import Optional

import numpy as np
from paddlenlp.utils.batch_sampler import DistributedBatchSampler

from ldm.data.buckets import AspectBuckets
from ldm.data.dataset import View
from ldm.data.sources.mix import Mix

OTHER_DRAWS = 3  # sets the order of the second set apart from that of the first
KEPT = 2  # permutations of each set: a batch may span two epochs


def epoch_order(seed: int, epoch: int, count: int, *more: int) -> np.ndarray:
    """The order (count,) of an epoch's samples."""
    return np.random.default_rng([seed, epoch, *more]).permutation(count)


class SampleStream:
    """What comes at each position 0, 1, 2, ... of a run, whatever its batches and ranks.

    Of a set of `count` samples: permutation after permutation, each drawn from (seed, epoch). With a `mix` of two sets,
    the second has its own epochs and takes every position at which position * share passes a whole number, so that
    both are spread evenly over every batch.
    """

    def __init__(self, seed: int, count: int, mix: Optional[Mix] = None):
        self.seed, self.count, self.mix, self._orders = seed, count, mix, {}

    def members(self, first: int, count: int) -> np.ndarray:
        """(epoch, sample) of the positions from `first` on: (count, 2) int64."""
        positions = np.arange(first, first + count, dtype=np.int64)
        if self.mix is None:
            return self._of_set(positions, self.count)
        numerator, denominator = self.mix.share.numerator, self.mix.share.denominator
        before = positions * numerator // denominator  # positions of the second set up to here
        second = (positions + 1) * numerator // denominator > before
        members = np.empty((count, 2), np.int64)
        members[~second] = self._of_set((positions - before)[~second], self.mix.own)
        members[second] = self._of_set(before[second], self.mix.other, OTHER_DRAWS)
        members[second, 1] += self.mix.own
        return members

    def _of_set(self, positions, count: int, *more: int):
        """(epoch, sample) at positions within a set's own stream."""
        epochs, offsets = np.divmod(positions, count)
        samples = np.empty_like(offsets)
        for epoch in np.unique(epochs).tolist():
            inside = epochs == epoch
            samples[inside] = self._order(epoch, count, more)[offsets[inside]]
        return np.stack([epochs, samples], axis=1)

    def _order(self, epoch: int, count: int, more: tuple):
        orders = self._orders.setdefault(more, {})
        if epoch not in orders:
            for old in sorted(orders)[: max(0, len(orders) - KEPT + 1)]:
                del orders[old]
            orders[epoch] = epoch_order(self.seed, epoch, count, *more)
        return orders[epoch]


def bucketed_batches(
    buckets: AspectBuckets, stream: SampleStream, size: int, start: int, total: int
) -> Iterator[list[View]]:
    """Batches number `start` to `total` of `size` samples each, a function of (the stream, the images' sizes, size).

    The samples come as in `stream`, each waits in its bucket, and a batch is made when `size` are waiting. What waits
    at the end of a round, as many samples as there are, waits on in the next, so nothing is lost. Batches before
    `start` are only counted.
    """
    waiting = [np.empty((0, 2), np.int64) for _ in buckets.shapes]  # (epoch, sample) each, fewer than `size`
    number, rounds = 0, 0
    while number < total:
        members = stream.members(rounds * len(buckets.own), len(buckets.own))
        batches, ends, waiting = _round(buckets, stream.seed, members, size, waiting)
        for which in np.argsort(ends)[max(0, start - number) : total - number]:
            bucket, chosen = batches[which]
            yield [View(sample, stream.seed, seen, bucket) for seen, sample in chosen.tolist()]
        number += len(batches)
        rounds += 1


def _round(buckets, seed, members, size, waiting):
    """(bucket, members (size, 2)) of a round's batches, where in the round each is complete, and what waits on."""
    bucket_of = np.empty(len(members), np.int64)
    for epoch in np.unique(members[:, 0]).tolist():
        inside = members[:, 0] == epoch
        bucket_of[inside] = buckets.of_epoch(seed, epoch)[members[inside, 1]]
    batches, ends, left = [], [], []
    for bucket, before in enumerate(waiting):
        places = np.flatnonzero(bucket_of == bucket)
        queue = np.concatenate([before, members[places]])
        full = len(queue) // size
        left.append(queue[full * size :])
        batches += [(bucket, queue[i * size : (i + 1) * size]) for i in range(full)]
        ends += [places[(i + 1) * size - 1 - len(before)] for i in range(full)]  # its last member is of this round
    return batches, np.array(ends, np.int64), left


class RunSampler(DistributedBatchSampler):
    """Batches of `View`s (sample numbers that know seed, epoch and bucket) for `total_batches` steps of one rank.

    The samples of all ranks are one SampleStream: permutation after permutation of the dataset, each drawn from
    (seed, epoch), or of two sets where the dataset has a `mix`. Batch p of rank r is a slice of it, so ranks never
    overlap and every batch is full. Where the dataset has `buckets`, the stream is cut into batches of one shape, all
    ranks' batches of a step being of the same.
    PaddleNLP's Trainer restarts this sampler by `consumed_samples`, without reading the data it skips.
    """

    def __init__(self, dataset, batch_size: int, total_batches: int, seed: int, num_replicas=1, rank=0):
        super().__init__(dataset, batch_size, num_replicas=num_replicas, rank=rank, shuffle=True)
        self.total_batches, self.seed = total_batches, seed

    def __len__(self):
        return self.total_batches

    def set_epoch(self, epoch=0, consumed_samples=0):
        self.consumed_samples = consumed_samples

    def __iter__(self):
        per_step = self.batch_size * self.nranks
        first, own = self.consumed_samples // per_step, self.local_rank * self.batch_size
        for batch in self._batches(first, per_step):
            yield batch[own : own + self.batch_size]

    def _batches(self, first: int, size: int):
        """Batches of all ranks together, from number `first` on."""
        stream = SampleStream(self.seed, len(self.dataset), self.dataset.mix)
        buckets = self.dataset.buckets
        if buckets is not None:
            yield from bucketed_batches(buckets, stream, size, first, self.total_batches)
            return
        for batch in range(first, self.total_batches):
            members = stream.members(batch * size, size)
            yield [View(sample, self.seed, epoch) for epoch, sample in members.tolist()]


def fixed_batches(dataset, count: int, batch_size: int, first: int = 0) -> list[list[int]]:
    """`count` samples from `first` on in batches that can be stacked: in order, or, with `fixed_buckets`, by shape."""
    buckets = dataset.fixed_buckets
    indices = range(first, first + count)
    shapes = [0] * count if buckets is None else buckets.own[first : first + count].tolist()
    batches = []
    for shape in sorted(set(shapes)):
        members = [index for index, own in zip(indices, shapes) if own == shape]
        batches += [members[start : start + batch_size] for start in range(0, len(members), batch_size)]
    return batches
