"""The order of a run with aspect buckets: every batch of one shape, shapes mixed as chance mixes the samples."""

from collections.abc import Iterator

import numpy as np

from ldm.data.buckets import AspectBuckets
from ldm.data.dataset import View
from ldm.training.batches.stream import SampleStream


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
