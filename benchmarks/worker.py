"""One side of a benchmark in a process of its own: reads commands from stdin, answers with one JSON line each.

"run": one timed call -> {"seconds", "peak_gib"}; "output PATH": write the last call's output -> {}.
BENCHMARK_DEVICE (cpu, gpu) and BENCHMARK_DTYPE say where and in what it computes.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import save_file

from ldm.common.memory import peak_memory  # imports neither Paddle nor PyTorch

DEVICE = os.environ.get("BENCHMARK_DEVICE", "cpu")
DTYPE = os.environ.get("BENCHMARK_DTYPE", "float32")

# Import this module first: whatever others print must not reach the protocol
protocol, sys.stdout = sys.stdout, sys.stderr


@dataclass(frozen=True)
class Side:
    """Who computes: a name, how to wait until it is done (a GPU answers before), and the most memory that it took."""

    name: str
    finish: Callable = lambda: None
    peak: Callable = peak_memory  # -> bytes; on a GPU those of the device


def serve(call, to_numpy, side: Side, way: str = ""):
    """Answer commands until stdin closes. `call()` computes and returns the output, of which `to_numpy` makes an array or
    {name: array}; `way` is how `side` computes it."""
    answer(name=" ".join([side.name, *([way] if way else []), *([DTYPE] if DTYPE != "float32" else [])]))
    output = None
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "run":
            start = time.perf_counter()
            output = call()
            side.finish()
            seconds = time.perf_counter() - start
            answer(seconds=seconds, peak_gib=side.peak() / 2**30)
        elif command == "output":
            arrays = to_numpy(output)
            arrays = arrays if isinstance(arrays, dict) else {"output": arrays}
            save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, rest[0])
            answer()


def answer(**content):
    print(json.dumps(content), file=protocol, flush=True)
