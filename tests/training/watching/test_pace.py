"""Speed, waiting for data and the remaining time, on a clock of the test's own; and the line a run prints."""

import time
from datetime import datetime

import numpy as np
import pytest
from paddle.io import Dataset

from ldm.training.batches.loader import TimedDataLoader
from ldm.training.watching.console import line, time_left
from ldm.training.watching.pace import Pace, device_peak


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(pace, clock, first, last, step=1.0, wait=0.0, every=0, aside=0.0):
    """Steps of `step` seconds, `wait` of them for data; every so many steps something of `aside` seconds."""
    for number in range(first, last + 1):
        with pace.waiting():
            clock.now += wait
        clock.now += step - wait
        if every and number % every == 0:
            with pace.aside():
                clock.now += aside
        pace.step_done(number)


def test_nothing_is_claimed_before_it_is_known_and_the_first_step_does_not_count():
    clock = Clock()
    pace = Pace(clock=clock)
    assert set(pace.entries(4, 10)) == {"peak_memory_gib"}
    run(pace, clock, 1, 1, step=60.0)
    assert set(pace.entries(4, 10)) == {"peak_memory_gib"}
    run(pace, clock, 2, 2, step=2.0)
    entries = pace.entries(4, 10)
    assert entries["eta_seconds"] == 16 and entries["samples_per_second"] == 2.0


def test_pictures_slow_the_end_but_not_the_speed():
    clock = Clock()
    pace = Pace([10], clock)
    run(pace, clock, 1, 21, every=10, aside=30.0)
    entries = pace.entries(4, 121)
    assert entries["samples_per_second"] == 4.0  # of steps 2 to 21
    assert entries["aside_share"] == pytest.approx(60 / 80, abs=1e-4)
    assert entries["eta_seconds"] == 100 * 4  # 100 steps of a second, and ten pictures


def test_waiting_is_a_share_of_the_interval():
    clock = Clock()
    pace = Pace(clock=clock)
    run(pace, clock, 1, 11, wait=0.5)
    assert pace.entries(1, 20)["data_wait_share"] == 0.5
    run(pace, clock, 12, 16)
    assert pace.entries(1, 20)["data_wait_share"] == 0.0


def test_recent_steps_decide_as_many_as_the_longest_period():
    clock = Clock()
    pace = Pace([100], clock)
    run(pace, clock, 1, 50, step=10.0)
    run(pace, clock, 51, 151, step=1.0)
    assert pace.entries(1, 251)["eta_seconds"] == 100


def test_a_resumed_run_counts_its_own_steps():
    clock = Clock()
    pace = Pace(clock=clock)
    run(pace, clock, 901, 903, step=2.0)
    assert pace.entries(1, 1000)["eta_seconds"] == 194


def test_a_step_is_marked_once():
    pace = Pace(clock=Clock())
    pace.step_done(3)
    pace.step_done(3)
    assert len(pace.marks) == 1


class Slow(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        time.sleep(0.05)
        return np.float32(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_loader_is_timed_and_gives_what_paddles_gives(workers):
    pace = Pace()
    loader = TimedDataLoader(pace, Slow(), batch_size=1, num_workers=workers)
    assert [float(batch[0] if isinstance(batch, list) else batch) for batch in loader] == [0.0, 1.0, 2.0]
    assert pace.waited >= 0.1


def test_memory_grows_by_what_is_taken():
    before = device_peak()
    taken = np.ones(2**26, np.uint8)
    for _ in range(64):  # beyond whatever the process has had
        if device_peak() > before:
            break
        taken = np.concatenate([taken, np.ones(2**26, np.uint8)])
    assert 2**20 < before < device_peak()


def test_the_line_is_readable_and_short():
    logs = {
        "loss": 0.12345678, "learning_rate": 1e-4, "global_step": 300, "grad_norm": 0.5312, "peak_memory_gib": 7.1234,
        "samples_per_second": 3.21, "data_wait_share": 0.021, "aside_share": 0.1, "eta_seconds": 720,
        "progress_or_epoch": 0.3, **{f"loss_t{i}0_{i + 1}0": 0.5 for i in range(10)},
    }  # fmt: skip
    text = line(logs, 300, 1000)
    expected = (
        "step 300/1000: loss 0.1235, grad norm 0.531, learning rate 0.0001, 3.21 samples/s, data wait 2%, 7.1 GiB, "
        "12 min left (until "
    )
    assert text.startswith(expected) and len(text) < 150 and "\n" not in text
    assert line({"fixed_loss": 0.5, "progress_or_epoch": 0.3}, 300, 1000) == "step 300/1000: fixed_loss 0.5"


@pytest.mark.parametrize(
    "seconds, text",
    [
        (20, "20 s left (until 12:00)"),
        (85, "85 s left (until 12:01)"),
        (720, "12 min left (until 12:12)"),
        (11400, "3 h 10 min left (until 15:10)"),
        (86400, "24 h 0 min left (until 02 Jan 12:00)"),
    ],
)
def test_time_left(seconds, text):
    assert time_left(seconds, datetime(2030, 1, 1, 12)) == text
