"""How fast a run is, how much of that it waits for data, how much memory it has taken, and when it will be done."""

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

import paddle

from ldm.common.memory import peak_memory

SHORTEST_MEMORY = 50  # steps that the remaining time is judged by, at least


@dataclass(frozen=True)
class Mark:
    """The end of a step: seconds on the clock, and of those before it spent waiting and aside."""

    step: int
    time: float
    waited: float
    aside: float


class Pace:
    """Clock of a run. The first step, which also starts workers and compiles, is not counted.

    periods: every how many steps something else than training happens (pictures, checkpoints). The remaining time is
    judged by as many steps as the longest of them, so that each has happened in them as often as it will from now on.
    """

    def __init__(self, periods=(), clock=monotonic):
        self.clock, self.waited, self.seconds_aside = clock, 0.0, 0.0
        self.marks = deque(maxlen=max([SHORTEST_MEMORY, *periods]) + 1)
        self.logged = None

    @contextmanager
    def waiting(self):
        """Time spent waiting for a batch."""
        start = self.clock()
        try:
            yield
        finally:
            self.waited += self.clock() - start

    @contextmanager
    def aside(self):
        """Time that goes neither into training nor into waiting for data: pictures and checkpoints."""
        start = self.clock()
        try:
            yield
        finally:
            self.seconds_aside += self.clock() - start

    def step_done(self, step: int):
        """Called after each optimiser step and its pictures, before its checkpoint."""
        if not self.marks or step > self.marks[-1].step:
            self.marks.append(Mark(step, self.clock(), self.waited, self.seconds_aside))

    def entries(self, samples_per_step: int, max_steps: int) -> dict:
        """What is logged: speed since the last call, `eta_seconds`, peak memory. Nothing that cannot be known yet.

        samples_per_second and data_wait_share are of the time without pictures and checkpoints, whose share of all time
        is aside_share. eta_seconds counts them too.
        """
        entries = {"peak_memory_gib": round(device_peak() / 2**30, 3)}
        if not self.marks:
            return entries
        now, oldest = self.marks[-1], self.marks[0]
        before, self.logged = self.logged or oldest, now
        if now.step > before.step:
            elapsed, aside = now.time - before.time, now.aside - before.aside
            training = max(elapsed - aside, 1e-9)
            entries["samples_per_second"] = round((now.step - before.step) * samples_per_step / training, 4)
            entries["data_wait_share"] = round((now.waited - before.waited) / training, 4)
            entries["aside_share"] = round(aside / max(elapsed, 1e-9), 4)
        if now.step > oldest.step:
            per_step = (now.time - oldest.time) / (now.step - oldest.step)
            entries["eta_seconds"] = round((max_steps - now.step) * per_step, 1)
        return entries


def device_peak() -> int:
    """The most memory this process has had, in bytes: the GPU's where it has one, else the machine's."""
    if paddle.is_compiled_with_cuda() and paddle.get_device().startswith("gpu"):
        return paddle.device.cuda.max_memory_allocated()
    return peak_memory()
