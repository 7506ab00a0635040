"""One training run: resume where the last one stopped, train, save."""

import json
from contextlib import nullcontext
from pathlib import Path

import paddle

from ldm.common.atomic import atomic_path
from ldm.images import check_writable
from ldm.training.checkpoints.lock import output_lock
from ldm.training.checkpoints.staging import discard, last_complete, problem_of, tidy
from ldm.training.distributed import log_one_disconnect
from ldm.training.flags.arguments import resolved
from ldm.training.non_finite.batch import replay
from ldm.training.preflight.checks import preflight, untouched_output
from ldm.training.task import Task
from ldm.training.trainer import CascadeTrainer


def find_checkpoint(args):
    """The checkpoint to resume from: the one named, else the last complete one in the output folder, else None.

    What a killed run has left in the output folder is put right first, except by --dry_run.
    """
    output, say = Path(args.output_dir), print if args.local_process_index == 0 else lambda text: None
    if args.local_process_index == 0 and not args.dry_run:
        tidy(output, say)
    if args.world_size > 1:
        paddle.distributed.barrier()
    if args.resume_from_checkpoint is not None:
        named = Path(args.resume_from_checkpoint)
        if not named.is_dir():
            raise FileNotFoundError(
                f"--resume_from_checkpoint {named} is not a folder. Leave the flag out to use the last complete one."
            )
        if (problem := problem_of(named, contents=True)) is not None:
            raise ValueError(
                f"--resume_from_checkpoint {named}: {problem}. Leave the flag out to use the last complete one."
            )
        return str(named)
    if args.overwrite_output_dir:
        return None
    checkpoint = last_complete(output, say)
    return str(checkpoint) if checkpoint else None


def save_options(folder, *groups):
    """Write every option as finally used to options.json."""
    with atomic_path(Path(folder) / "options.json") as temporary:
        temporary.write_text(json.dumps(resolved(*groups), indent=2, default=str, ensure_ascii=False) + "\n")


def build_trainer(build_task, *groups) -> CascadeTrainer:
    """The trainer of the task that `build_task(*groups)` makes; the last of `groups` are the training arguments."""
    args = groups[-1]
    if args.world_size > 1 and args.process_index == 0:
        log_one_disconnect()
    task: Task = build_task(*groups)
    return CascadeTrainer(task, args=args)


def replay_bad_batch(trainer: CascadeTrainer, path, checkpoint):
    """Run a saved batch through the weights of `checkpoint` (None: those a run starts from); where it goes bad."""
    trainer.load_weights(checkpoint)
    with trainer.autocast_smart_context_manager():
        origin = replay(trainer.task, path)
    print(f"{path} with {checkpoint or 'the weights a run starts from'}: loss {origin.loss:g}; {origin}.")
    return origin


def dry_run(build_task, *groups):
    """Everything up to one step forward and back, of the checkpoint that would be resumed if there is one."""
    args = groups[-1]
    with output_lock(args.output_dir, create=False), untouched_output(args.output_dir):
        checkpoint = find_checkpoint(args)
        trainer = build_trainer(build_task, *groups)
        trainer.load_weights(checkpoint)
        return preflight(trainer, checkpoint)


def train(build_task, *groups):
    """Train to the end and save the final checkpoint in the output folder."""
    args = groups[-1]
    if args.dry_run:
        return dry_run(build_task, *groups)
    if args.replay_bad_batch and not Path(args.replay_bad_batch).is_file():
        raise FileNotFoundError(
            f"--replay_bad_batch {args.replay_bad_batch} does not exist: take a .json file of bad_batches/ in the output folder."
        )
    check_writable(args.output_dir)
    with output_lock(args.output_dir) if args.process_index == 0 else nullcontext():  # nodes may share the folder
        return _train(build_task, *groups)


def _train(build_task, *groups):
    args = groups[-1]
    checkpoint = find_checkpoint(args)
    trainer = build_trainer(build_task, *groups)
    if args.replay_bad_batch:
        return replay_bad_batch(trainer, args.replay_bad_batch, checkpoint)
    if args.preflight:
        preflight(trainer, checkpoint)
    if args.overwrite_output_dir and checkpoint is None and args.local_process_index == 0:
        discard(args.output_dir)
    if args.should_save:
        save_options(args.output_dir, *groups)
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_final()
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    trainer.wait_for_ranks()  # none may leave while another still needs it
    return result
