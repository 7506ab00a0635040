#!/usr/bin/env python
"""Seconds and memory of loading a network beside reading its file, and of its first guided step.

python benchmarks/loading.py build/full_release/stage_c_lite.safetensors --kind stage_c

Every measurement is a process of its own, in turn, the file dropped from the system's cache before (--warm: not). "read" is
the file's bytes into one buffer; "load" builds the network in float32; "step" loads it and computes one guided step of a
1024-pixel image. Memory is the process's peak beyond what Paddle takes by itself.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

CHUNK = 16 << 20
CASE_OF = {"stage_c": "prior", "stage_b": "decoder"}


def read(path) -> dict:
    """The file once, into memory that is used again: the least that loading could take."""
    buffer = memoryview(bytearray(CHUNK))
    start = perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    return {"seconds": perf_counter() - start}


def load(path, kind: str, with_step: bool) -> dict:
    from ldm.common.runtime import prepare

    prepare()
    import paddle
    from cases import CASES, read_inputs, write_inputs

    from ldm.common.memory import peak_memory, resident_memory
    from ldm.weights.release import load_network

    paddle.set_device("cpu")
    paddle.zeros([1]).numpy()  # the libraries are there
    before = resident_memory()
    start = perf_counter()
    network = load_network(path, kind)
    result = {"seconds": perf_counter() - start, "peak": peak_memory() - before}
    result["weights"] = sum(parameter.size * parameter.element_size() for parameter in network.parameters())
    if with_step:
        case = CASES[CASE_OF[kind]]
        with tempfile.TemporaryDirectory() as folder, paddle.no_grad():
            inputs = Path(folder) / "inputs.safetensors"
            write_inputs(inputs, case, 1, case.grid)
            given = read_inputs(inputs)
            x, r = given.pop("x"), given.pop("r")
            network.bound(x.shape[2:], **given)(x, r).numpy()
        result |= {"seconds": perf_counter() - start, "peak": peak_memory() - before}
    return result


def forget(path):
    """Drop a file from the system's cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measured(args, way: str) -> dict:
    if not args.warm:
        forget(args.file)
    command = [sys.executable, __file__, args.file, "--kind", args.kind, "--measure", way]
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--kind", default="stage_c", choices=CASE_OF)
    parser.add_argument("--ways", nargs="+", default=["read", "load", "step"], choices=("read", "load", "step"))
    parser.add_argument("--warm", action="store_true", help="leave the file in the system's cache")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        result = read(args.file) if args.measure == "read" else load(args.file, args.kind, args.measure == "step")
        print(json.dumps(result))
        return
    results = {way: [] for way in args.ways}
    for _ in range(args.rounds):
        for way, runs in results.items():
            runs.append(measured(args, way))
    print(f"{args.file}: {Path(args.file).stat().st_size / 2**30:.2f} GiB, {args.threads} threads")
    first = statistics.median(run["seconds"] for run in results[args.ways[0]])
    for way, runs in results.items():
        seconds = statistics.median(run["seconds"] for run in runs)
        memory = ""
        if way != "read":
            most, weights = max(run["peak"] for run in runs), runs[0]["weights"]
            memory = (
                f", peak {most / 2**30:.2f} GiB, {most / weights:.3f} of the float32 weights' {weights / 2**30:.2f}"
            )
        print(f"{way:5} {seconds:7.2f} s, {seconds / first:.2f} of the first line's{memory}")


if __name__ == "__main__":
    main()
