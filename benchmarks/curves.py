#!/usr/bin/env python
"""What a guided step costs by batch and by image size, beside what the number of its operations predicts.

python benchmarks/curves.py prior --version 1B --way prepared --peer_python .venv-peer/bin/python

Each point is timed in a process of its own, in turn. "cost" is the time as a multiple of the first point's; "predicted" the
same of the operations (PyTorch counts them on diffusers' network, hence --peer_python); 1.00 where they agree.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cases import CASES, STEP_WAYS, write_inputs
from tqdm import tqdm
from workers import HERE, Timed, compare

SIZES, BATCHES = (256, 512, 768, 1024, 1280, 1536), (1, 2, 4, 8)


def operations(python: str, case: str, version: str, batch: int, grid: int) -> int:
    command = [python, HERE / "flops.py", case, version, str(batch), str(grid)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def point(args, batch: int, size: int) -> tuple[Timed, int]:
    """The time of a step for `batch` images of `size` pixels, and its operations."""
    case = CASES[args.case]
    grid = round(case.grid * size / 1024)
    with tempfile.TemporaryDirectory() as folder:
        inputs = str(Path(folder) / "inputs.safetensors")
        write_inputs(inputs, case, batch, grid)
        arguments = [*case.arguments(args.version), inputs, args.way, str(Path(folder) / "cache")]
        (timed,) = compare([(sys.executable, case.ours, arguments)], args.rounds, args.threads)
    return timed, operations(args.peer_python, args.case, args.version, batch, grid)


def table(args, title: str, points) -> str:
    rows, first = [f"| {title} | seconds | cost | predicted | cost / predicted |", "|" + "---|" * 5], None
    for name, batch, size in tqdm(points, desc=title):
        timed, count = point(args, batch, size)
        first = first or (timed.median, count)
        cost, predicted = timed.median / first[0], count / first[1]
        rows.append(f"| {name} | {timed.median:.2f} | {cost:.2f} | {predicted:.2f} | {cost / predicted:.2f} |")
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
