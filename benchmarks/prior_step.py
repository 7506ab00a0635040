#!/usr/bin/env python
"""Seconds and peak memory of one guided prior step: ours and diffusers, alternately, same inputs and weights.

python benchmarks/prior_step.py --peer_python .venv-peer/bin/python   (see benchmarks/README.md)
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent


class Worker:
    """A benchmark process and its line protocol."""

    def __init__(self, python: str, script: str, arguments, threads: int):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [python, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.name = self.read()["name"]

    def read(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"The worker {self.process.args} ended with code {self.process.wait()}.")
        return json.loads(line)

    def ask(self, command: str) -> dict:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.read()


def timed(workers, rounds: int) -> tuple[list, list]:
    """Every worker's seconds, a list of `rounds`, and its peak memory in GiB. They take turns: what else the machine
    does meanwhile falls on all of them."""
    seconds, peaks = [[] for _ in workers], [0.0] * len(workers)
    for _ in range(rounds):
        for index, worker in enumerate(workers):
            result = worker.ask("run")
            seconds[index].append(result["seconds"])
            peaks[index] = result["peak_gib"]
    return seconds, peaks


def make_inputs(path, size: int):
    """One image's inputs doubled: the unconditional half has other text."""
    rng = np.random.default_rng(0)
    shapes = {"clip_text": (77, 1280), "clip_text_pooled": (1, 1280), "clip_img": (1, 768)}
    inputs = {name: rng.standard_normal((2, *shape), dtype=np.float32) for name, shape in shapes.items()}
    latent = rng.standard_normal((1, 16, size, size), dtype=np.float32)
    save_file(inputs | {"x": np.concatenate([latent, latent]), "r": np.full(2, 0.5, np.float32)}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer_python", required=True, help="python of an environment with requirements-peer.txt")
    parser.add_argument("--version", default="1B", choices=("1B", "3.6B"))
    parser.add_argument("--grid", type=int, default=24, help="side of the latent; 24 is a 1024-pixel image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        inputs = str(Path(folder) / "inputs.safetensors")
        make_inputs(inputs, args.grid)
        workers = [
            Worker(sys.executable, "ours_step.py", ["stage_c", args.version, inputs, "plain"], args.threads),
            Worker(args.peer_python, "peer.py", [args.version, inputs], args.threads),
        ]
        outputs = []
        for index, worker in enumerate(workers):  # the first run warms up and is not counted
            worker.ask("run")
            path = str(Path(folder) / f"output_{index}.safetensors")
            worker.ask(f"output {path}")
            outputs.append(load_file(path)["output"])
        error = np.linalg.norm(outputs[0] - outputs[1]) / np.linalg.norm(outputs[1])
        print(
            f"prior {args.version}, {args.grid} x {args.grid}, guided, {args.threads} threads; outputs differ by {error:.1e}"
        )
        seconds, peaks = timed(workers, args.rounds)
        medians = [statistics.median(times) for times in seconds]
        for worker, times, median, peak in zip(workers, seconds, medians, peaks):
            listed = ", ".join(f"{t:.2f}" for t in times)
            print(f"{worker.name:44} median {median:6.2f} s ({listed}), peak {peak:5.2f} GiB")
        print(f"ours / peer: time {medians[0] / medians[1]:.2f}, memory {peaks[0] / peaks[1]:.2f}")


if __name__ == "__main__":
    main()
