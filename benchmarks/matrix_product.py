#!/usr/bin/env python
"""How fast this machine multiplies float32 matrices, by everything a step could be computed with: the limit of a step.

python benchmarks/matrix_product.py [--threads 2] [--peer_python .venv-peer/bin/python]

Each way runs in a process of its own, all of them in turn: what else the machine does falls on all. "MKL" is Paddle's
eager product as `ldm.common.runtime` sets it up, beside it the AVX2 and AVX-512 code of the MKL inside Paddle's wheel
(MKL_DEBUG_CPU_TYPE 5 and 7); "oneDNN" is Paddle's inference program, the weights packed once.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from workers import Worker

SHAPES = {  # name -> rows, columns of the input, columns of the output: batch 2 (guidance), a 1024-pixel image
    "prior 1B, MLP up": (1152, 1536, 6144),
    "prior 1B, MLP down": (1152, 6144, 1536),
    "prior 1B, attention in": (1152, 1536, 4608),
    "decoder 700M, level 1": (32768, 320, 1280),
    "decoder 700M, level 2": (8192, 576, 2304),
    "decoder 700M, level 3": (2048, 1152, 4608),
}
WAYS = {  # name -> variables of its process
    "MKL": {},
    "MKL AVX2": {"MKL_DEBUG_CPU_TYPE": "5"},
    "MKL AVX-512": {"MKL_DEBUG_CPU_TYPE": "7"},
    "oneDNN": {},
}


def best_of(call, seconds: float) -> float:
    """The shortest time of as many calls as fit into `seconds`, after one that is not counted."""
    call()
    times, end = [], perf_counter() + seconds
    while len(times) < 3 or perf_counter() < end:  # the first may still have to ask the system for memory
        start = perf_counter()
        call()
        times.append(perf_counter() - start)
    return min(times)


def paddle_eager(rows, inner, columns):
    import paddle

    paddle.set_device("cpu")
    x, weight = paddle.randn([rows, inner]), paddle.randn([inner, columns])
    return lambda: paddle.matmul(x, weight)


def paddle_program(rows, inner, columns):
    import paddle

    from ldm.compiled.unet import PROGRAM, open_program

    paddle.set_device("cpu")
    network = paddle.nn.Linear(inner, columns)
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        spec = [paddle.static.InputSpec([rows, inner], "float32")]
        traced = paddle.jit.to_static(network, input_spec=spec, full_graph=True)
        paddle.jit.save(traced, str(Path(folder) / Path(PROGRAM).stem))
        predictor = open_program(Path(folder), left_out=["inplace_pass"])
    x = paddle.randn([rows, inner])
    return lambda: predictor.run([x])


def torch_eager(rows, inner, columns):
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    x, weight = torch.randn(rows, inner), torch.randn(inner, columns)
    return lambda: x @ weight


def measure(way: str, seconds: float):
    """Answer each shape's name on stdin with billions of operations a second."""
    if way == "PyTorch":
        make = torch_eager
    else:
        from ldm.common.runtime import prepare

        prepare()
        make = paddle_program if way == "oneDNN" else paddle_eager
    print(json.dumps({"name": way}), flush=True)
    for line in sys.stdin:
        rows, inner, columns = SHAPES[line.strip()]
        print(2 * rows * inner * columns / best_of(make(rows, inner, columns), seconds) / 1e9, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=0.5, help="for each shape and way in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer_python", help="python of an environment with PyTorch, to measure that too")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return measure(args.measure, args.seconds)

    programs = [(way, sys.executable, WAYS[way]) for way in args.ways]
    if args.peer_python:
        programs.append(("PyTorch", args.peer_python, {}))
    workers = [
        Worker(python, Path(__file__).name, ["--measure", way, "--seconds", args.seconds], args.threads, variables)
        for way, python, variables in programs
    ]
    print(f"float32, {args.threads} threads, billions of operations a second: the best of {args.rounds} rounds\n")
    print(f"| product | rows x inner x columns | {' | '.join(worker.name for worker in workers)} |")
    print("|" + "---|" * (len(workers) + 2))
    for name, shape in SHAPES.items():
        rounds = [[worker.ask(name) for worker in workers] for _ in range(args.rounds)]
        rates = " | ".join(f"{max(rates):.0f}" for rates in zip(*rounds, strict=True))
        print(f"| {name} | {' x '.join(map(str, shape))} | {rates} |")
    for worker in workers:
        worker.end()


if __name__ == "__main__":
    sys.exit(main())
