"""Processes that are timed in turn, each one side of a comparison; they exchange safetensors files. See worker.py."""

import json
import os
import signal
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

HERE = Path(__file__).resolve().parent


def environment(**variables) -> dict:
    """This process's, with `variables` and the project importable: diffusers' environment does not have it installed."""
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}


class Worker:
    """A benchmark process and its line protocol. `variables` are added to its environment."""

    def __init__(self, python: str, script: str, arguments, threads: int, variables=()):
        limits = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, str(HERE / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(**limits, **dict(variables)),
        )
        self.name = self.read()["name"]

    def read(self):
        """One answer: what its line says in JSON."""
        line = self.process.stdout.readline()
        if not line:
            raise self.gone()
        return json.loads(line)

    def ask(self, command: str):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.gone() from None
        return self.read()

    def gone(self) -> SystemExit:
        """What to raise when the process has ended by itself; its own message is on the screen."""
        code = self.process.wait()
        killed = " It was killed, as by a system out of memory: take fewer ways at a time, or compare.py's --apart."
        what = f"The worker {' '.join(self.process.args)} ended with code {code}."
        return SystemExit(what + (killed if code == -signal.SIGKILL else ""))

    def end(self):
        """Its memory is free afterwards."""
        self.process.stdin.close()
        self.process.wait()


@dataclass
class Timed:
    """One side of a comparison: seconds of its rounds, peak memory of its process, first output."""

    name: str
    output: dict
    seconds: list = field(default_factory=list)
    peak_gib: float = 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def error(self, other) -> float:
        """The greatest relative error of its outputs beside `other`'s."""
        return max(
            float(np.linalg.norm(self.output[key] - value) / np.linalg.norm(value))
            for key, value in other.output.items()
        )


def compare(starts, rounds: int, threads: int) -> list[Timed]:
    """Start the workers (python, script, arguments), have each warm up and give its output, then time them in turn:
    what else the machine does meanwhile falls on all of them."""
    pairs = [started(start, threads) for start in starts]
    for _ in range(rounds):
        for worker, side in pairs:
            time_once(worker, side)
    for worker, _ in pairs:
        worker.end()
    return [side for _, side in pairs]


def compare_apart(starts, rounds: int, threads: int, progress=iter) -> list[Timed]:
    """The same with one process at a time, started anew in every round: for networks of which memory holds one alone.

    `progress` wraps the list of turns (tqdm).
    """
    sides = {}
    for index in progress([index for _ in range(rounds) for index in range(len(starts))]):
        worker, side = started(starts[index], threads)
        time_once(worker, sides.setdefault(index, side))
        worker.end()
    return list(sides.values())


def started(start, threads: int) -> tuple[Worker, Timed]:
    """A worker that has computed once, and what came out."""
    worker = Worker(*start, threads)
    worker.ask("run")  # not counted
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "output.safetensors"
        worker.ask(f"output {path}")
        return worker, Timed(worker.name, {key: value.copy() for key, value in load_file(path).items()})


def time_once(worker: Worker, side: Timed):
    """One counted call."""
    result = worker.ask("run")
    side.seconds.append(result["seconds"])
    side.peak_gib = max(side.peak_gib, result["peak_gib"])
