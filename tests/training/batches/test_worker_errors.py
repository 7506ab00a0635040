"""What goes wrong while a sample is read arrives as what it is, without a traceback on standard error."""

import os
import signal

import numpy as np
import pytest
from paddle.io import Dataset

from ldm.common.cli.failures import line_of
from ldm.training.batches.loader import TimedDataLoader
from ldm.training.watching.pace import Pace


def read_all(fail, workers, collate=None):
    """Batches of two from a dataset in which sample 5 is read by `fail`."""

    class Samples(Dataset):
        def __len__(self):
            return 20

        def __getitem__(self, index):
            return fail() if index == 5 else np.full(3, index, "float32")

    options = {} if collate is None else {"collate_fn": collate}
    seen = 0
    for _ in TimedDataLoader(Pace(), Samples(), batch_size=2, num_workers=workers, **options):
        seen += 1
    return seen


def raising(error):
    def fail():
        raise error

    return fail


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "fail, line",
    [
        (raising(FileNotFoundError("picture 5 is gone.")), "picture 5 is gone."),
        (raising(ValueError("picture 5 is damaged.")), "picture 5 is damaged."),
        (lambda: open("/missing/5.png"), "/missing/5.png: No such file or directory: check the spelling."),
        (lambda: np.empty(10**15), "Not enough memory (7.11 PiB at once)"),  # its exception cannot be pickled
        (lambda: {}["no such key"], None),
    ],
)
def test_the_error_is_the_one_that_happened(capfd, workers, fail, line):
    with pytest.raises(Exception) as failed:
        read_all(fail, workers)
    if line is None:
        assert line_of(failed.value) is None and "no such key" in str(failed.value)
    else:
        assert line_of(failed.value).startswith(line)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_collating(capfd, workers):
    with pytest.raises(ValueError, match="do not go together"):
        read_all(
            lambda: np.zeros(3, "float32"), workers, lambda samples: raising(ValueError("These do not go together."))()
        )
    assert "Traceback" not in capfd.readouterr().err


def test_without_an_error_nothing_changes():
    assert read_all(lambda: np.zeros(3, "float32"), 1) == 10


def test_a_killed_worker(capfd):
    with pytest.raises(Exception) as failed:
        read_all(lambda: os.kill(os.getpid(), signal.SIGKILL), 1)
    assert "A worker process of the data loader died" in line_of(failed.value)
