#!/usr/bin/env python
"""Peak memory of a generation, measured beside the forecast that inference.py refuses by; each size in a process of its own.

python benchmarks/generation_memory.py                                           the demo, a table of sizes
python benchmarks/generation_memory.py --weights build/full_release --sizes 1024x1024x1 1024x1024x1:low_memory

A size is HEIGHTxWIDTHxBATCH[:low_memory|compile]. Two steps of either stage: more take no more.
"""

import argparse
import json
import subprocess
import sys
import tempfile

SIZES = [
    *("256x256x1", "384x384x1", "384x384x4", "512x512x2", "384x384x16", "768x1024x2", "1024x1024x1", "1024x1024x4"),
    *("384x384x4:low_memory", "1024x1024x2:low_memory", "384x384x4:compile", "1024x1024x2:compile"),
]
MIB = 2**20


def measure(weights: str, size: str) -> dict:
    """Bytes that this process takes for a generation from the moment inference.py makes its forecast; and the forecast."""
    from ldm.common.runtime import prepare

    prepare()
    from ldm.common.memory import on_cpu, peak_memory, resident_memory
    from ldm.generation.memory import networks_of
    from ldm.generation.request import GenerationSettings
    from ldm.generation.work import Sizes
    from ldm.pipeline import StableCascade

    sides, _, way = size.partition(":")
    height, width, batch = map(int, sides.split("x"))
    settings = GenerationSettings(height, width, steps=2, decoder_steps=2)
    options = {"dtype": "float32", "low_memory": way == "low_memory", "compiled": way == "compile", "on_cpu": on_cpu()}
    forecast = networks_of(weights).forecast(Sizes.of(settings.request([""], batch)), **options)
    before = resident_memory()
    cascade = StableCascade(weights, dtype="float32", low_memory=options["low_memory"])
    with tempfile.TemporaryDirectory() as folder:
        if options["compiled"]:
            cascade.compile(folder, keep_weights=False)
        cascade("a large red circle", batch, settings, progress=False)
    return {"measured": peak_memory() - before, "forecast": forecast.peak, "sum": forecast.described()}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="assets/demo", help="folder of the release")
    parser.add_argument("--sizes", nargs="+", default=SIZES)
    parser.add_argument("--one", action="store_true", help="measure in this process, print one JSON object")
    args = parser.parse_args(argv)
    if args.one:
        print(json.dumps(measure(args.weights, args.sizes[0])))
        return 0
    print("| size | measured, MiB | forecast, MiB | difference |\n|---|---:|---:|---:|")
    for size in args.sizes:
        command = [sys.executable, __file__, "--weights", args.weights, "--one", "--sizes", size]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        found = json.loads(lines[-1])
        difference = found["forecast"] / found["measured"] - 1
        print(
            f"| {size} | {found['measured'] / MIB:.0f} | {found['forecast'] / MIB:.0f} | {difference:+.1%} |",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
