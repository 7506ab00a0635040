#!/usr/bin/env python
"""What a guided step costs by batch and by image size, beside what the number of its operations predicts.

python benchmarks/curves.py prior --version 1B --way prepared --peer_python .venv-peer/bin/python

Each point is timed in a process of its own, all in turn in every round. "cost" is the time as a multiple of the first
point's; "predicted" the same of the operations (PyTorch counts them on diffusers' network, hence --peer_python); 1.00
where they agree.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from cases import CASES, STEP_WAYS, write_inputs
from tqdm import tqdm
from workers import HERE, compare_apart, environment

SIZES, BATCHES = (256, 512, 768, 1024, 1280, 1536), (1, 2, 4, 8)


def operations(python: str, case: str, version: str, batch: int, grid: int) -> int:
    command = [python, HERE / "flops.py", case, version, str(batch), str(grid)]
    return int(subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout)


def table(args, title: str, points) -> str:
    """The points (name, batch, size) in turn, a process each, and their operations; relative to the first."""
    case, starts, counts = CASES[args.case], [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, batch, size in points:
            grid = round(case.grid * size / 1024)
            inputs = str(Path(folder) / f"{name}.safetensors")
            write_inputs(inputs, case, batch, grid)
            arguments = [*case.arguments(args.version), inputs, args.way, str(Path(folder) / "cache")]
            starts.append((sys.executable, case.ours, arguments))
            counts.append(operations(args.peer_python, args.case, args.version, batch, grid))
        sides = compare_apart(starts, args.rounds, args.threads, partial(tqdm, desc=title))
    rows = [f"| {title} | seconds | cost | predicted | cost / predicted |", "|" + "---|" * 5]
    for (name, *_), side, count in zip(points, sides, counts, strict=True):
        cost, predicted = side.median / sides[0].median, count / counts[0]
        rows.append(f"| {name} | {side.median:.2f} | {cost:.2f} | {predicted:.2f} | {cost / predicted:.2f} |")
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("case", choices=("prior", "decoder"))
    add("--version", help="prior: 1B or 3.6B, decoder: 700M or 3B; default: the smaller")
    add("--way", default="prepared", choices=STEP_WAYS)
    add("--peer_python", required=True, help="python of an environment with requirements-peer.txt")
    add("--batches", type=int, nargs="+", default=BATCHES, help="images; for these --size (default: %(default)s)")
    add("--sizes", type=int, nargs="+", default=SIZES, help="pixels; for these one image (default: %(default)s)")
    add("--size", type=int, default=1024, help="pixels, for the curve over batches")
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    args.version = args.version or CASES[args.case].version
    print(f"{args.case} {args.version}, {args.way}, {args.threads} threads\n")
    print(table(args, f"images of {args.size} px", [(batch, batch, args.size) for batch in args.batches]), "\n")
    print(table(args, "pixels, one image", [(size, 1, size) for size in args.sizes]))


if __name__ == "__main__":
    main()
