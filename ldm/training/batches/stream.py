"""The endless order of a run's samples, a function of the seed: shuffled epochs of one set, or of two mixed."""

from typing import Optional

import numpy as np

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
