"""One training run: resume where the last one stopped, train, save."""

import json
from pathlib import Path

from paddlenlp.trainer import get_last_checkpoint

from ldm.atomic import atomic_path
from ldm.images import check_writable
from ldm.training.arguments import resolved
from ldm.training.callbacks import Look
from ldm.training.task import Task
from ldm.training.trainer import CascadeTrainer


def find_checkpoint(args):
    """The checkpoint to resume from: the one named, else the last in the output folder, else None."""
    if args.resume_from_checkpoint is not None:
        if not Path(args.resume_from_checkpoint).is_dir():
            raise FileNotFoundError(f"--resume_from_checkpoint {args.resume_from_checkpoint} is not a folder.")
        return args.resume_from_checkpoint
    if args.overwrite_output_dir or not Path(args.output_dir).is_dir():
        return None
    return get_last_checkpoint(args.output_dir)


def save_options(folder, *groups):
    """Write every option as finally used to options.json."""
    with atomic_path(Path(folder) / "options.json") as temporary:
        temporary.write_text(json.dumps(resolved(*groups), indent=2, default=str, ensure_ascii=False) + "\n")


def build_trainer(build_task, *groups) -> CascadeTrainer:
    """The trainer of the task that `build_task(*groups)` makes; the last of `groups` are the training arguments."""
    args = groups[-1]
    check_writable(args.output_dir)
    task: Task = build_task(*groups)
    trainer = CascadeTrainer(task, args=args)
    trainer.add_callback(Look(trainer))
    if args.should_save:
        save_options(args.output_dir, *groups)
    return trainer


def train(build_task, *groups):
    """Train to the end and save the final checkpoint in the output folder."""
    args = groups[-1]
    checkpoint = find_checkpoint(args)
    trainer = build_trainer(build_task, *groups)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    return result
