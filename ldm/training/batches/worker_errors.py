"""Errors in reading a sample, brought from a data loader's workers and threads to where the batch is used.

Paddle prints them there, as forty lines, and raises another of its own here that does not say what has happened.
"""

import traceback

import numpy as np
from paddle.io import Dataset, get_worker_info

from ldm.common.cli.failures import line_of

KEY = "error of reading"  # of a batch that is none


class UnreadSample(ValueError):
    """What went wrong in a worker, already in words for the user."""


class Guarded(Dataset):
    """A dataset whose samples may be Failures instead of exceptions."""

    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return attempt(lambda: self.dataset[index])


class GuardedCollate:
    """A collate function for their samples: a batch, or one that holds a Failure."""

    def __init__(self, collate):
        self.collate = collate

    def __call__(self, samples):
        failed = next((sample for sample in samples if isinstance(sample, Failure)), None)
        batch = failed or attempt(lambda: self.collate(samples))
        return {KEY: batch, "index": np.zeros(1, "int64")} if isinstance(batch, Failure) else batch


def attempt(read):
    """What `read()` returns, or its Failure."""
    try:
        return read()
    except Exception as error:
        return Failure(error)


class Failure:
    """An exception on its way; from another process as the line that is said of it, since not all can be sent."""

    def __init__(self, error: Exception):
        self.error = error if get_worker_info() is None else None
        self.line, self.what = line_of(error), f"{type(error).__name__}: {error}"
        self.report = "".join(traceback.format_exception(error))

    def raise_it(self):
        if self.error is not None:
            raise self.error
        if self.line is not None:
            raise UnreadSample(self.line)
        raise RuntimeError(f"{self.what}, in a worker of the data loader:\n{self.report}")


def checked(batch):
    """The batch; raises what one that is none holds."""
    if isinstance(batch, dict) and KEY in batch:
        batch[KEY].raise_it()
    return batch
