#!/usr/bin/env python
"""Seconds and peak memory of one case, in each way this project computes it and in diffusers, in one run.

python benchmarks/compare.py prior --version 1B --peer_python .venv-peer/bin/python
python benchmarks/compare.py training --batch 2 --peer_python .venv-peer/bin/python --json build/benchmarks.jsonl

One process each, alternately, the same inputs and rule-filled weights; the outputs are compared before anything is timed.
prior, decoder: a guided step; "plain" looks at the conditions in every step, "prepared" once, as a generation does,
"compiled" is `inference.py --compile`. training: forward, backward, AdamW, "O1" and "O2" in mixed precision. stage_a: decoding.
text: CLIP-bigG. --device gpu --dtype float16 does the same on a GPU, where memory is the GPU's.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from cases import CASES, PEER_WAYS, write_inputs
from workers import compare, compare_apart


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("case", choices=CASES)
    add("--version", help="prior: 1B or 3.6B, decoder: 700M or 3B, training: 100M or 1B; default: the first")
    add("--grid", type=int, help="side of the latent, or tokens; default: that of a 1024-pixel image, or 77")
    add("--batch", type=int, default=1, help="images, captions or samples")
    add("--device", default="cpu", choices=("cpu", "gpu"))
    add("--dtype", default="float32", choices=("float32", "float16", "bfloat16"), help="half precision needs a GPU")
    add("--ways", nargs="+", help="plain, prepared, compiled, O1, O2; default: all that the case has there")
    add("--peer_python", help="python of an environment with requirements-peer.txt, to time diffusers too")
    add("--peer_ways", nargs="+", default=["eager"], choices=PEER_WAYS, help="compiled: by torch.compile")
    add("--cache", help="folder for compiled programs and large files; default: a temporary one")
    add("--apart", action="store_true", help="one process at a time, anew in every round, where memory holds no two")
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=os.cpu_count())
    add("--json", help="file to add one line with the results to")
    args = parser.parse_args()
    case = CASES[args.case]
    ways = case.ways_on(args.device, args.dtype)
    if not ways:
        parser.error(f"{args.case} is not computed in {args.dtype} on a {args.device}: choose --dtype float32")
    unknown = set(args.ways or ()) - set(ways)
    if unknown:
        parser.error(f"{args.case} is not computed {', '.join(sorted(unknown))} here: choose of {', '.join(ways)}")
    args.ways, args.grid = args.ways or list(ways), args.grid or case.grid
    args.version = args.version or case.version
    return args, case


def gpus() -> int:
    """How many GPUs this environment's Paddle can use."""
    import paddle

    return paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0


def main():
    args, case = parse()
    if args.device == "gpu" and not gpus():
        print("Skipped: this environment's Paddle sees no GPU. Install paddlepaddle-gpu, or leave --device out.")
        return
    os.environ |= {"BENCHMARK_DEVICE": args.device, "BENCHMARK_DTYPE": args.dtype}  # the workers inherit them
    with tempfile.TemporaryDirectory() as folder:
        inputs = str(Path(folder) / "inputs.safetensors")
        write_inputs(inputs, case, args.batch, args.grid)
        common, cache = [*case.arguments(args.version), inputs], args.cache or str(Path(folder) / "cache")
        starts = [(sys.executable, case.ours, [*common, way, cache]) for way in args.ways]
        if args.peer_python:
            starts += [(args.peer_python, case.peer, [*common, way, cache]) for way in args.peer_ways]
        sides = (compare_apart if args.apart else compare)(starts, args.rounds, args.threads)
    # The yardstick is the eager peer, without a peer the plain way
    reference = sides[len(args.ways) if args.peer_python else 0]
    where = f"{args.threads} threads" if args.device == "cpu" else "GPU"
    print(f"{args.case} {args.version}, batch {args.batch}, {args.grid}, {where}; beside {reference.name}:")
    rows = []
    for side in sides:
        ratio, error = side.median / reference.median, side.error(reference)
        times = ", ".join(f"{seconds:.2f}" for seconds in side.seconds)
        print(
            f"{side.name:44} median {side.median:6.2f} s ({times}), peak {side.peak_gib:5.2f} GiB, "
            f"{ratio:.2f} of the time, differs by {error:.1e}"
        )
        rows.append(
            {"name": side.name, "seconds": side.seconds, "peak_gib": side.peak_gib, "ratio": ratio, "error": error}
        )
    if args.json:
        record = {key: getattr(args, key) for key in ("case", "version", "batch", "grid", "threads", "device", "dtype")}
        with open(args.json, "a") as file:
            file.write(json.dumps({**record, "sides": rows}) + "\n")


if __name__ == "__main__":
    main()
