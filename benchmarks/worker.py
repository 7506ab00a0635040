"""One side of a benchmark in a process of its own: reads commands from stdin, answers with one JSON line each.

"run": one timed call -> {"seconds", "peak_gib"}; "output PATH": write the last call's output -> {}.
"""

import json
import sys
import time

import numpy as np
from memory import peak
from safetensors.numpy import save_file

# Import this module first: whatever others print must not reach the protocol
protocol, sys.stdout = sys.stdout, sys.stderr


def serve(call, to_numpy, name: str):
    """Answer commands until stdin closes. `call()` computes and returns the output, of which `to_numpy` makes an array or
    {name: array}; `name` says who this is."""
    answer(name=name)
    output = None
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "run":
            start = time.perf_counter()
            output = call()
            seconds = time.perf_counter() - start
            answer(seconds=seconds, peak_gib=peak() / 2**30)
        elif command == "output":
            arrays = to_numpy(output)
            arrays = arrays if isinstance(arrays, dict) else {"output": arrays}
            save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, rest[0])
            answer()


def answer(**content):
    print(json.dumps(content), file=protocol, flush=True)
