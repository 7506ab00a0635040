"""Flags that have an effect only under others, or none with others: refused, with what to do instead."""

from dataclasses import MISSING, fields
from importlib.util import find_spec
from os import W_OK, access
from pathlib import Path

import paddle

LIBRARIES = {"visualdl": "visualdl", "tensorboard": "tensorboardX", "wandb": "wandb"}  # of --report_to


def check_supported(args):
    """ValueError for the first flag of training arguments, as the user set them, that would be ignored, crash or spoil the run."""
    for asked, message in _refusals(args, _non_default(args)):
        if asked:
            raise ValueError(message)
    check_reports(args)
    if args.logging_dir is not None:
        check_logging_dir(args.logging_dir)


def _non_default(args) -> dict:
    """{name: value} of the flags that differ from their defaults."""
    defaults = {item.name: item.default for item in fields(args) if item.default is not MISSING}
    return {name: getattr(args, name) for name, default in defaults.items() if getattr(args, name) != default}


def _refusals(args, changed: dict):
    """(whether it is asked for, what is said of it)."""
    epochs = [name for name in ("save", "logging") if getattr(args, f"{name}_strategy") == "epoch"]
    half = args.fp16 or args.bf16
    yield (
        epochs,
        f"--{' and --'.join(f'{name}_strategy' for name in epochs)} epoch: a run is one long epoch here. Use --save_steps and "
        "--logging_steps.",
    )
    yield (
        args.sharding not in ("", "stage1"),
        f"--sharding {args.sharding}: only stage1 shares the work in a way that pictures, averages and the checks of gradients "
        "can follow. Use --sharding stage1.",
    )
    yield (
        args.sharding and paddle.distributed.get_world_size() <= 1,
        f"--sharding {args.sharding} spreads the optimiser over several processes, and this is one: start it with python -m "
        "paddle.distributed.launch, or use --optim adamw_mini or --recompute True to save memory.",
    )
    yield (
        args.device not in (None, paddle.get_device().split(":")[0]),
        f"--device {args.device}: this computes on {paddle.get_device()}. Leave the flag out; which GPUs are used says "
        "CUDA_VISIBLE_DEVICES in the environment (empty: the CPU).",
    )
    yield (
        args.fp16 and args.fp16_opt_level == "O2" and args.optim == "adamw_mini",
        "--optim adamw_mini with --fp16 True --fp16_opt_level O2: it squares gradients in float16, where they vanish. Use "
        "--bf16 True, --fp16_opt_level O1 or --optim adamw.",
    )
    yield _needs(changed, ("fp16_opt_level",), half, "--fp16 True or --bf16 True")
    yield _needs(changed, ("scale_loss",), args.fp16, "--fp16 True")
    yield _needs(changed, ("amp_custom_black_list", "amp_custom_white_list"), half, "--fp16 True or --bf16 True")
    yield _needs(changed, ("num_cycles",), args.lr_scheduler_type == "cosine", "--lr_scheduler_type cosine")
    yield _needs(changed, ("lr_end", "power"), args.lr_scheduler_type == "polynomial", "--lr_scheduler_type polynomial")
    yield (
        args.lr_scheduler_type == "polynomial" and args.lr_end >= args.learning_rate,
        f"--lr_end {args.lr_end:g} must be below --learning_rate {args.learning_rate:g}: the rate falls to it.",
    )
    yield (
        "num_train_epochs" in changed and args.max_steps > 0,
        f"--num_train_epochs {args.num_train_epochs:g} and --max_steps {args.max_steps}: leave one of them out (--max_steps "
        "-1 is as if it were).",
    )
    yield (
        args.overwrite_output_dir and args.resume_from_checkpoint is not None,
        "--overwrite_output_dir begins anew, --resume_from_checkpoint goes on: leave one of them out.",
    )
    yield _needs(changed, ("run_name",), "wandb" in (args.report_to or ()), "--report_to wandb")


def _needs(changed: dict, names: tuple, there: bool, what: str) -> tuple:
    """The refusal of flags that act only with another."""
    name = next((name for name in names if name in changed), names[0])
    return (
        name in changed and not there,
        f"--{name} {changed.get(name)} acts with {what} only: add that, or leave it out.",
    )


def check_reports(args):
    """ValueError for a --report_to that is not known or whose library is not installed."""
    names = [args.report_to] if isinstance(args.report_to, str) else args.report_to or []
    for name in names:
        if name not in LIBRARIES and not (name in ("all", "none") and len(names) == 1):
            raise ValueError(f"--report_to {name}: choose from {', '.join(LIBRARIES)}, or all or none alone.")
        if name in LIBRARIES and find_spec(LIBRARIES[name]) is None:
            raise ValueError(f"--report_to {name} needs the package {LIBRARIES[name]}: install it, or leave it out.")


def check_logging_dir(folder: str):
    """ValueError for a --logging_dir that is no folder or cannot be made one; VisualDL would log nowhere, saying nothing."""
    path = Path(folder).expanduser().absolute()
    there = next(path for path in (path, *path.parents) if path.exists())
    if not there.is_dir() or not access(there, W_OK):
        raise ValueError(f"--logging_dir {folder}: {there} is not a folder that can be written to. Choose another.")
