#!/usr/bin/env python
"""Seconds of a whole generation at 1024 px: measured once, and projected from its steps, beside diffusers' steps.

python benchmarks/full_release.py
python benchmarks/generation.py --weights build/full_release --peer_python .venv-peer/bin/python [--compile]

20 guided steps of the prior 1B, 10 of the decoder 700M, one caption and the empty one, Stage A; loading does not count. The
projection adds up what compare.py measures for these parts; the peer's whole is its projection, since its pipeline would
need the release in another layout.
"""

import argparse
import os
import sys
from pathlib import Path
from time import perf_counter

PRIOR_STEPS, DECODER_STEPS = 20, 10


def projected(args) -> dict:
    """{name of the side: seconds}; the parts are printed."""
    from cases import CASES, write_inputs
    from workers import compare

    ours = "compiled" if args.compile else "prepared"
    parts = {
        "text": (1, "plain"),
        "prior": (PRIOR_STEPS, ours),
        "decoder": (DECODER_STEPS, ours),
        "stage_a": (1, "plain"),
    }
    totals = {"ours": 0.0, "peer": 0.0}
    for name, (times, way) in parts.items():
        case, inputs = CASES[name], str(Path(args.cache) / f"{name}.safetensors")
        write_inputs(inputs, case, 2 if name == "text" else 1, case.grid)  # the caption and the empty one
        common = [*case.arguments(case.version), inputs]
        starts = [(sys.executable, case.ours, [*common, way, args.cache])]
        if args.peer_python:
            starts.append((args.peer_python, case.peer, [*common, "eager", args.cache]))
        for key, side in zip(totals, compare(starts, args.rounds, args.threads)):
            print(f"{name:8} {side.name:44} {times} x {side.median:.2f} s", flush=True)
            totals[key] += times * side.median
    return totals


def measured(args) -> float:
    """One image by the pipeline itself; compiled programs exist before."""
    from ldm.common.runtime import prepare

    prepare()
    from ldm.pipeline import GenerationSettings, StableCascade

    cascade = StableCascade(args.weights, "1B", "700M", "float32")
    caption = "a lighthouse at night"
    if args.compile:
        cascade.compile(args.cache, keep_weights=False)
    warm_up = GenerationSettings(steps=1, decoder_steps=1)
    cascade(caption, settings=warm_up)  # loads the networks and compiles
    settings = GenerationSettings(steps=PRIOR_STEPS, decoder_steps=DECODER_STEPS)
    start = perf_counter()
    cascade(caption, settings=settings)
    return perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="build/full_release")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peer_python", help="python of an environment with requirements-peer.txt")
    parser.add_argument("--cache", default="build/benchmark_cache", help="folder for compiled programs and inputs")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    Path(args.cache).mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    totals = projected(args)
    whole = measured(args)
    print(f"ours: projected {totals['ours']:.1f} s, measured {whole:.1f} s")
    if args.peer_python:
        peer = totals["peer"]
        print(f"peer: projected {peer:.1f} s; ours / peer {totals['ours'] / peer:.2f}, measured {whole / peer:.2f}")


if __name__ == "__main__":
    main()
