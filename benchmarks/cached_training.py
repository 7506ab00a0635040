#!/usr/bin/env python
"""Steps per second of fine-tuning the prior from a feature cache and from the images, in turn.

python benchmarks/cached_training.py --weights assets/demo --dataset assets/houses --resolution 192 --batch 12

Two trainings of the project's own trainer in this process: it trains some steps from the images, some from the cache, and
so on. The median of a step's time counts, checkpoints and pictures are off; filling the cache is told apart.
"""

import argparse
import statistics
import sys
import tempfile
from time import perf_counter

from ldm.common.runtime import prepare


def fill(args, folder) -> float:
    """Seconds it takes to cache the dataset."""
    from ldm.programs import cache_features

    start = perf_counter()
    flags = f"--weights_path {args.weights} --dataset_path {args.dataset} --resolution {args.resolution} --feature_cache {folder}"
    if cache_features.main(flags.split()):
        sys.exit(1)
    return perf_counter() - start


def seconds_of_steps(args, output, extra: str) -> list[float]:
    """A short training; the times between the ends of its steps, without the first, which also starts the loader."""
    from paddlenlp.trainer import TrainerCallback

    from ldm.training.flags.arguments import parse_into
    from ldm.training.run import build_trainer
    from ldm.training.tasks import prior

    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            ends.append(perf_counter())

    flags = (
        f"--do_train --weights_path {args.weights} --dataset_path {args.dataset} --output_dir {output} "
        f"--resolution {args.resolution} --per_device_train_batch_size {args.batch} --max_steps {args.steps + 2} "
        f"--save_strategy no --report_to none --disable_tqdm True --logging_steps 1000000 --dataloader_num_workers {args.workers} "
        f"--image_logging_steps 0 {args.flags} {extra}"
    )
    trainer = build_trainer(prior.build_task, *parse_into(prior.GROUPS, flags.split()))
    trainer.add_callback(Clock)
    trainer.train()
    return [end - start for start, end in zip(ends[1:], ends[2:])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--weights", default="assets/demo")
    add("--dataset", default="assets/houses")
    add("--resolution", type=int, default=192)
    add("--batch", type=int, default=12)
    add("--steps", type=int, default=20, help="of each round, timed")
    add("--rounds", type=int, default=3)
    add("--workers", type=int, default=1, help="processes of the data loader")
    add("--flags", default="", help="more flags for both trainings, for instance '--method lora --lora_rank 4'")
    args = parser.parse_args()
    prepare()
    times = {"images": [], "cache": []}
    with tempfile.TemporaryDirectory() as folder:
        filled = fill(args, f"{folder}/cache")
        for round in range(args.rounds):
            times["images"] += seconds_of_steps(args, f"{folder}/images_{round}", "")
            times["cache"] += seconds_of_steps(args, f"{folder}/cached_{round}", f"--feature_cache {folder}/cache")
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, median in medians.items():
        print(f"{name}: {median * 1000:.0f} ms a step, {1 / median:.2f} steps/s, {args.batch / median:.1f} samples/s")
    print(
        f"cached / uncached: {medians['images'] / medians['cache']:.2f} x the steps per second; filled in {filled:.1f} s"
    )


if __name__ == "__main__":
    main()
