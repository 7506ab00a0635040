#!/usr/bin/env python
"""Peak memory of training the prior at any size, measured beside the forecast that the trainers print.

python benchmarks/training_memory.py --width 512 --blocks 2 6 --batch 2 --recompute     one run in this process
python benchmarks/training_memory.py --version 1B --recompute --optim adamw_mini        the full size, 24 x 24 latents
python benchmarks/training_memory.py --sweep                                            a table of sizes, each in a process

Weights are filled by rule, features are random, the Trainer is the project's own: its optimiser, average and checks take
part. The frozen networks do not: features as from a cache.
"""

import argparse
import gc
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from time import perf_counter

from ldm.common.runtime import prepare
from ldm.data.dataset import SampleSet

TEXT, POOLED, IMAGE, TOKENS = 1280, 1280, 768, 77
SWEEP = [
    "--width 512 --blocks 2 6 --grid 16",
    "--width 512 --blocks 2 6 --grid 16 --recompute",
    "--width 512 --blocks 2 6 --grid 16 --batch 4 --recompute --optim adamw_mini",
    "--width 384 --blocks 2 6 --grid 16 --batch 4",
    "--width 512 --blocks 2 6 --grid 24 --batch 2 --recompute --ema",
    "--width 768 --blocks 2 6 --grid 16 --recompute --optim adamw_mini",
    "--width 768 --blocks 2 6 --grid 16 --batch 2 --method lora",
    "--width 768 --blocks 3 9 --grid 16 --recompute --optim adamw_mini --save",
    "--width 768 --blocks 3 9 --grid 16 --recompute --save",
]


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", choices=("1B", "3.6B"), help="a released size instead of --width and --blocks")
    parser.add_argument("--width", type=int, default=256, help="channels of both levels, a multiple of 64")
    parser.add_argument("--blocks", type=int, nargs=2, default=(1, 2), help="units of the upper and the lower level")
    parser.add_argument("--grid", type=int, default=24, help="side of the latents; 24 is a 768-pixel crop")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--recompute", action="store_true")
    parser.add_argument("--optim", default="adamw", choices=("adamw", "adamw_mini"))
    parser.add_argument("--method", default="full", choices=("full", "lora"))
    parser.add_argument("--ema", action="store_true", help="keep an average of the weights")
    parser.add_argument("--save", action="store_true", help="write a checkpoint at the end, into a temporary folder")
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--sweep", action="store_true", help="run a table of settings, each in a process of its own")
    return parser.parse_args(argv)


def build_model(args):
    """ModelC for cached features, its prior filled by rule one tensor at a time, without a release folder."""
    import paddle

    from ldm.model_c import ModelC
    from ldm.networks.variants import variant_config
    from ldm.weights.loading import fill
    from ldm.weights.release import build_unfilled
    from ldm.weights.synthetic import rule_tensor

    class Prior(ModelC):
        def __init__(self, config):
            paddle.nn.Layer.__init__(self)
            self.hold(build_unfilled("stage_c", config), config, unet_path=None, frozen=None)
            for key, parameter in self.unet.state_dict().items():
                fill(parameter, rule_tensor(key, parameter.shape), "float32")

    upper, lower = args.blocks
    config = dict(c_cond=args.width, c_hidden=[args.width] * 2, nhead=[max(1, args.width // 64)] * 2,
                  blocks=[[upper, lower], [lower, upper]])  # fmt: skip
    return Prior(variant_config("stage_c", args.version) if args.version else config)


class RandomFeatures(SampleSet):
    """Rows as `scripts/cache_features.py` makes them, of random numbers."""

    def __init__(self, grid: int, count: int):
        self.grid, self.count = grid, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        import numpy as np

        shapes = {"latents": (16, self.grid, self.grid), "text_embeds": (TOKENS, TEXT), "pooled": (1, POOLED)}
        rng = np.random.default_rng(int(index))
        features = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
        return {**features, "image_embeds": rng.standard_normal((1, IMAGE), dtype=np.float32), "index": int(index)}


def measure(args) -> dict:
    """Train for a few steps; bytes forecast and measured, seconds per step. A tiny prior is trained first: what the
    libraries take, whatever the size, is then taken, and not counted."""
    prepare()

    from ldm.common.memory import on_cpu, peak_memory, resident_memory

    train(argparse.Namespace(**{**vars(args), "version": None, "width": 64, "blocks": (1, 1), "grid": 4, "steps": 1}))
    gc.collect()
    baseline = resident_memory()
    result = train(args)
    return {**result, "process": peak_memory() - baseline if on_cpu() else None, "baseline": baseline}


def train(args) -> dict:
    """What `measure` tells of one training, but for the process."""
    import paddle

    from ldm.adapters.lora import DEFAULT_FILTERS
    from ldm.common.memory import peak_allocated, reset_peak
    from ldm.training.batches.cached import stack
    from ldm.training.batches.draws import PriorDraws
    from ldm.training.flags.arguments import CascadeTrainingArguments
    from ldm.training.flags.parser import FlagParser
    from ldm.training.preflight.room import forecast_of
    from ldm.training.preflight.step import drawn_for, first_batch
    from ldm.training.task import Task
    from ldm.training.trainer import CascadeTrainer

    with tempfile.TemporaryDirectory() as folder:
        flags = f"--do_train --output_dir {folder} --max_steps {args.steps} --logging_steps 1 --disable_tqdm True "
        flags += f"--per_device_train_batch_size {args.batch} --optim {args.optim} --recompute {args.recompute} "
        flags += "--save_strategy no --report_to none " + ("--ema_decay 0.99" if args.ema else "")
        (options,) = FlagParser((CascadeTrainingArguments,)).parse(flags.split())
        model = build_model(args)
        if args.method == "lora":
            model.adapt(filters=DEFAULT_FILTERS, rank=4, alpha=1.0)
        data = RandomFeatures(args.grid, 2 * args.batch)
        empty = {"text_embeds": paddle.zeros([TOKENS, TEXT]), "pooled": paddle.zeros([1, POOLED])}
        encode = partial(model.features.from_cache, empty)
        task = Task(model, data, stack, {}, PriorDraws(16, 0.05, 0.1), encode=encode, cached=True, stage=model)
        trainer = CascadeTrainer(task, args=options)
        forecast, _ = forecast_of(trainer, drawn_for(trainer, first_batch(trainer, args.steps)))
        if not args.save:
            forecast = replace(forecast, saving=0)
        reset_peak()
        start = perf_counter()
        trainer.train()
        seconds = (perf_counter() - start) / args.steps
        if args.save:
            trainer._save_checkpoint(model)
        return {
            "parameters": sum(math.prod(p.shape) for p in model.unet.parameters()),
            "forecast_tensors": forecast.tensors,
            "forecast": forecast.peak,
            "described": forecast.described(),
            "tensors": peak_allocated(),
            "seconds": seconds,
        }


def line(name: str, result: dict) -> str:
    keys = ("forecast_tensors", "tensors", "forecast", "process")
    forecast_tensors, tensors, forecast, process = ((result[key] or 0) / 2**30 for key in keys)
    ratio = f"{forecast / process:.3f}" if process else "-"
    return (
        f"| {name} | {result['parameters'] / 1e6:.0f} M | {forecast_tensors:.2f} | {tensors:.2f} | "
        f"{forecast_tensors / tensors:.3f} | {forecast:.2f} | {process:.2f} | {ratio} | {result['seconds']:.1f} |"
    )


HEAD = (
    "| setting | prior | tensors, forecast GiB | measured | ratio | process, forecast GiB | measured | ratio | s per step |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def main(argv=None) -> int:
    args = parse(argv)
    if args.sweep:
        print(HEAD, flush=True)
        for setting in SWEEP:
            command = [sys.executable, __file__, *setting.split(), "--json"]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(done.stderr[-2000:], file=sys.stderr)
                return done.returncode
            print(line(setting, json.loads(done.stdout.splitlines()[-1])), flush=True)
        return 0
    result = measure(args)
    if args.json:
        print(json.dumps(result))
    else:
        print(f"Forecast: {result['described']}; the libraries' {result['baseline'] / 2**30:.2f} GiB come on top.")
        print(HEAD)
        print(line(" ".join(argv or sys.argv[1:]), result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
