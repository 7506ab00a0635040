"""The order of a whole run: shuffled epochs one after the other, a function of the seed alone, resumable anywhere."""

import numpy as np
from paddlenlp.utils.batch_sampler import DistributedBatchSampler


class RunSampler(DistributedBatchSampler):
    """Batches of indices for `total_batches` steps of one rank.

    The samples of all ranks are one stream: permutation after permutation of the dataset, each drawn from
    (seed, epoch). Batch p of rank r is a slice of it, so ranks never overlap and every batch is full. PaddleNLP's
    Trainer restarts this sampler by `consumed_samples`, without reading the data it skips.
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
        permutations = {}
        for batch in range(self.consumed_samples // per_step, self.total_batches):
            start = batch * per_step + self.local_rank * self.batch_size
            yield [self._sample(position, permutations) for position in range(start, start + self.batch_size)]

    def _sample(self, position: int, permutations: dict) -> int:
        """The index at `position` of the stream; keeps only the permutations of the current and the last epoch."""
        epoch, offset = divmod(position, len(self.dataset))
        if epoch not in permutations:
            for old in [e for e in permutations if e < epoch - 1]:
                del permutations[old]
            permutations[epoch] = np.random.default_rng([self.seed, epoch]).permutation(len(self.dataset))
        return int(permutations[epoch][offset])
