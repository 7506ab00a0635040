"""The order of a whole run: shuffled epochs one after the other, a function of the seed alone, resumable anywhere."""

from paddlenlp.utils.batch_sampler import DistributedBatchSampler

from ldm.data.dataset import View
from ldm.training.batches.bucket_order import bucketed_batches
from ldm.training.batches.stream import SampleStream


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
        stream = SampleStream(self.seed, len(self.dataset), getattr(self.dataset, "mix", None))
        buckets = getattr(self.dataset, "buckets", None)
        if buckets is not None:
            yield from bucketed_batches(buckets, stream, size, first, self.total_batches)
            return
        for batch in range(first, self.total_batches):
            members = stream.members(batch * size, size)
            yield [View(sample, self.seed, epoch) for epoch, sample in members.tolist()]


def fixed_batches(dataset, count: int, batch_size: int, first: int = 0) -> list[list[int]]:
    """`count` samples from `first` on in batches that can be stacked: in order, apart by shape where a dataset has `fixed_buckets`."""
    buckets = getattr(dataset, "fixed_buckets", None)
    indices = range(first, first + count)
    shapes = [0] * count if buckets is None else buckets.own[first : first + count].tolist()
    batches = []
    for shape in sorted(set(shapes)):
        members = [index for index, own in zip(indices, shapes) if own == shape]
        batches += [members[start : start + batch_size] for start in range(0, len(members), batch_size)]
    return batches
