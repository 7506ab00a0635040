#!/usr/bin/env python
"""Seconds and peak memory of one guided step of the prior or the decoder, in each way this project computes it.

python benchmarks/step.py --network stage_b --version 700M --grid 256 [--peer_python .venv-peer/bin/python]

"plain": every step looks at the conditions; "prepared": they are looked at once, as in a generation; "compiled": by
`inference.py --compile`. One process each, alternately; the outputs are compared with the first one's before.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from prior_step import Worker, make_inputs, timed
from safetensors.numpy import load_file, save_file

WAYS = ("plain", "prepared", "compiled")
PEERS = {"stage_c": "peer.py", "stage_b": "peer_decoder.py"}
GRIDS = {"stage_c": 24, "stage_b": 256}  # of a 1024-pixel image


def make_decoder_inputs(path, grid: int):
    """One image's inputs doubled: the unconditional half has other text and a zero latent of the prior."""
    rng = np.random.default_rng(0)
    x, effnet = (rng.standard_normal((1, *shape), dtype=np.float32) for shape in ((4, grid, grid), (16, 24, 24)))
    inputs = {"x": np.concatenate([x, x]), "effnet": np.concatenate([effnet, np.zeros_like(effnet)])}
    clip = rng.standard_normal((2, 1, 1280), dtype=np.float32)
    save_file(inputs | {"clip": clip, "r": np.full(2, 0.5, np.float32)}, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="stage_c", choices=sorted(PEERS))
    parser.add_argument("--version", default="1B", help="1B or 3.6B of stage_c, 700M or 3B of stage_b")
    parser.add_argument("--grid", type=int, help="side of the latent; default: that of a 1024-pixel image")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument(
        "--peer_python", help="python of an environment with requirements-peer.txt, to time diffusers too"
    )
    parser.add_argument("--cache", help="folder for compiled programs; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    grid = args.grid or GRIDS[args.network]

    with tempfile.TemporaryDirectory() as folder:
        inputs, output = (str(Path(folder) / f"{name}.safetensors") for name in ("inputs", "output"))
        (make_inputs if args.network == "stage_c" else make_decoder_inputs)(inputs, grid)
        common = [args.network, args.version, inputs]
        cache = args.cache or str(Path(folder) / "programs")
        starts = [(sys.executable, "ours_step.py", [*common, way, cache]) for way in args.ways]
        if args.peer_python:
            starts.append((args.peer_python, PEERS[args.network], common[1:]))
        workers, outputs = [], []
        for start in starts:
            worker = Worker(*start, args.threads)
            worker.ask("run")  # warms up and is not counted
            worker.ask(f"output {output}")
            workers.append(worker)
            outputs.append(load_file(output)["output"].copy())
        print(f"{args.network} {args.version}, {grid} x {grid}, guided, {args.threads} threads")
        seconds, peaks = timed(workers, args.rounds)
    for worker, times, peak, made in zip(workers, seconds, peaks, outputs):
        error = np.linalg.norm(made - outputs[0]) / np.linalg.norm(outputs[0])
        median, last = statistics.median(times), statistics.median(seconds[-1])
        print(
            f"{worker.name:44} median {median:6.2f} s ({', '.join(f'{t:.2f}' for t in times)}), peak {peak:5.2f} GiB, "
            f"{median / last:.2f} of the last line's time, differs by {error:.1e}"
        )


if __name__ == "__main__":
    main()
