"""Which sample, and which visit of it: what the order of a run hands to a dataset."""

import numpy as np

VISIT_DRAWS = 2  # sets these random numbers apart from an epoch's order and buckets


class Visit(int):
    """A sample's number that also says in which epoch of which run it is seen, and in which bucket.

    It is an int, so that datasets without random views take it as they take any number. A plain int is the fixed view:
    square, uncropped by chance, never mirrored, which looks and statistics use.
    """

    seed: int
    epoch: int
    bucket: int  # -1: the sample's own shape is the square

    def __new__(cls, index: int, seed: int, epoch: int, bucket: int = -1):
        visit = super().__new__(cls, index)
        visit.seed, visit.epoch, visit.bucket = int(seed), int(epoch), int(bucket)
        return visit

    def __getnewargs__(self):  # it travels to the loader's workers
        return int(self), self.seed, self.epoch, self.bucket

    def draws(self) -> np.random.Generator:
        """Random numbers of this visit, the same in any process and after any resume."""
        return np.random.default_rng([self.seed, self.epoch, int(self), VISIT_DRAWS])
