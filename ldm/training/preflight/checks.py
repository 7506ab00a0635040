"""The checks before a run, and --dry_run, which is nothing but them: no weight, random number or file is changed."""

import os
from contextlib import contextmanager
from pathlib import Path

import paddle

from ldm.common.preflight_report import Report
from ldm.training.checkpoints.rng_state import preserved_rng_state
from ldm.training.preflight.data import check_captions, check_latents, check_samples
from ldm.training.preflight.room import check_disk, check_memory, existing_folder, half_precision
from ldm.training.preflight.step import check_step, drawn_for, first_batch
from ldm.training.preflight.weights import check_weights

SAMPLES, SAMPLES_BEFORE_A_RUN = 64, 8  # whose latents are looked at


def preflight(trainer, checkpoint=None):
    """Look at data, weights, disk and memory and try a step; PreflightFailed lists everything that is wrong.

    checkpoint: what is resumed, in which case a normal run tries no step. The report is printed by the first process of
    every machine.
    """
    args, report = trainer.args, Report()
    with preserved_rng_state():
        _look(report, trainer, checkpoint)
    if args.local_process_index == 0:
        print(report.text(), flush=True)
    report.check()
    return report


def _look(report: Report, trainer, checkpoint):
    args, task = trainer.args, trainer.task
    steps, dataset = trainer.steps_of_run(), trainer.train_dataset
    check_samples(report, dataset, trainer._samples_per_step())
    check_captions(report, task)
    check_latents(report, task, SAMPLES if args.dry_run else SAMPLES_BEFORE_A_RUN)
    check_weights(report, task, checkpoint)
    report.say("computes on", device(args))
    check_disk(report, trainer, steps)
    drawn = drawn_for(trainer, first_batch(trainer, steps))
    check_memory(report, trainer, drawn)
    if not report.problems and (args.dry_run or checkpoint is None):
        check_step(report, trainer, drawn, steps, checkpoint)


def device(args) -> str:
    """Device, ranks and precision in words."""
    name = paddle.get_device()
    if name == "cpu":
        name += f" ({os.environ.get('OMP_NUM_THREADS', '1')} threads)"
    precision = (
        ("float16" if args.fp16 else "bfloat16") + f" {args.fp16_opt_level}" if half_precision(args) else "float32"
    )
    return f"{name}{f', {args.world_size} ranks' if args.world_size > 1 else ''}, {precision}"


@contextmanager
def untouched_output(output_dir):
    """Folders that something makes on the way to `output_dir` are removed again, as far as they are empty."""
    output, existing = Path(output_dir).absolute(), existing_folder(output_dir)
    try:
        yield
    finally:
        for folder in (output, *output.parents):
            if folder == existing:
                break
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
