"""Whether there is room: on the disk for the checkpoints that are asked for, in memory for a step."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

from ldm.common.memory import allocated, available, gib, on_cpu
from ldm.common.preflight_report import Report
from ldm.stage import CascadeStage
from ldm.training.checkpoints.staging import checkpoint_folders
from ldm.training.preflight.blocks import FLOAT32, Shape
from ldm.training.preflight.forecast import OPTIMIZER_BYTES, Forecast, heap_holes, parameter_terms, unet_activations


def half_precision(args) -> bool:
    """Whether the networks compute in 16 bits."""
    return args.fp16 or args.bf16


# Disk ---------------------------------------------------------------------------------------------------------------


def checkpoint_bytes(trainer) -> int:
    """About the size of a checkpoint: weights, the optimiser's states, the average."""
    args, model = trainer.args, trainer.task.model
    state = model.state_dict().values()
    trained = sum(_numbers(p) for p in model.parameters() if not p.stop_gradient)
    masters = half_precision(args) and args.fp16_opt_level == "O2"
    states = trained * (OPTIMIZER_BYTES[args.optim.value] + (FLOAT32 if masters else 0))
    average = FLOAT32 * sum(map(_numbers, state)) if trainer.average is not None else 0
    return sum(_numbers(value) * value.element_size() for value in state) + states + average


def check_disk(report: Report, trainer, steps: int):
    """Free space against the checkpoints that will lie there together, the one being written among them."""
    args, each = trainer.args, checkpoint_bytes(trainer)
    saves = max(1, math.ceil(steps / args.save_steps)) if args.save_strategy.value == "steps" else 1
    limit = args.save_total_limit
    together = min(saves, limit + 1) if limit and limit > 0 else saves  # a new one is whole before an old one goes
    needed, free = (together + 1) * each, free_on_disk(args.output_dir)
    there = sum(path.stat().st_size for folder in checkpoint_folders(args.output_dir) for path in folder.rglob("*"))
    needed = max(0, needed - there)  # of a run that goes on: part of those asked for, or deleted as new ones come
    take = f"of {gib(each)} GiB take {gib(needed)}{' more' if there else ''}"
    report.say("disk", f"{gib(free)} GiB free; {together} checkpoints and the final weights {take}")
    if needed > free:
        report.problem(
            f"--output_dir {args.output_dir} has {gib(free)} GiB free, and {together} checkpoints and the final weights "
            f"{take}: add --save_total_limit 1, a larger --save_steps, or another --output_dir."
        )


def free_on_disk(folder) -> int:
    """Bytes free where `folder` is or will be."""
    return shutil.disk_usage(existing_folder(folder)).free


def existing_folder(path) -> Path:
    """The folder itself or the nearest one above it that exists."""
    path = Path(path).absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


# Memory -------------------------------------------------------------------------------------------------------------


def forecast_of(trainer, drawn: dict) -> tuple[Forecast, bool]:
    """What a run takes with this batch and its draws, and whether its activations are in it: they are for the UNets of both stages."""
    args, task, model = trainer.args, trainer.task, trainer.task.model
    parameters = model.parameters()
    trained = [_numbers(p) for p in parameters if not p.stop_gradient]
    weights = sum(_numbers(p) * p.element_size() for p in parameters)
    o2 = half_precision(args) and args.fp16_opt_level == "O2"
    average = sum(map(_numbers, model.state_dict().values())) if trainer.average is not None else 0
    terms = parameter_terms(
        weights, sum(trained), max(trained), args.optim.value, average, 2 if o2 else FLOAT32, masters=o2
    )
    if not on_cpu():
        terms["saving"] = 0  # the copies for a checkpoint are not made on the GPU
    if task.stage is None:
        return Forecast(**terms), False
    kept, workspace = activations(task.stage, drawn, args.recompute, 2 if half_precision(args) else FLOAT32)
    terms["workspace"] = max(workspace, max(trained) * FLOAT32)
    heap = heap_holes(terms["gradients"], kept + terms["workspace"]) if on_cpu() else 0
    return Forecast(**terms, activations=kept, heap=heap), task.encoder is None


def activations(stage: CascadeStage, drawn: dict, recompute: bool, number: int) -> tuple[int, int]:
    """`unet_activations` of a stage for a batch, of images or of features, with its draws."""
    unet = stage.unet
    size, (rows, columns) = drawn["epsilon"].shape[0], drawn["epsilon"].shape[2:]
    grid = (rows // unet.patch_size, columns // unet.patch_size)
    text = drawn.get("text_embeds", drawn.get("input_ids"))
    if stage.kind == "stage_c":
        tokens = text.shape[1] + 2 * unet.c_clip_seq
        factors = [0.5 if switch else 1.0 for switch in unet.switch_level]
    else:
        tokens, factors = unet.c_clip_seq, [0.5] * (len(unet.levels) - 1)
    scales = [math.prod(factors[:index]) for index in range(len(unet.levels))]
    shape = Shape(size, grid[0] * grid[1], tokens, unet.clip_norm.channels, number, on_cpu())
    return unet_activations(unet.levels, unet.c_in, shape, grid, recompute, scales, trained_blocks(stage))


def trained_blocks(stage: CascadeStage):
    """A test of block names: whether a block has a parameter that is trained, or a LoRA."""
    trained = {name for name, p in stage.unet.named_parameters() if not p.stop_gradient}
    adapter = stage.adapters.trained
    if adapter is not None and adapter.weights is not None:
        trained |= {target.key for target in adapter.weights.targets}
    if adapter is not None and adapter.embeddings is not None:
        return None  # gradients go through every block, to the tokens
    return lambda name: any(key.startswith(f"{name}.") for key in trained)


def check_memory(report: Report, trainer, drawn: dict):
    """The forecast, and whether what it adds to what is in use now is free."""
    forecast, complete = forecast_of(trainer, drawn)
    now, free = allocated(), available()
    if now:
        forecast = replace(forecast, frozen=max(0, now - forecast.weights - forecast.average))
    more = forecast.peak - forecast.weights - forecast.frozen - forecast.average
    text = forecast.described()
    text += (
        ""
        if complete
        else "\nwithout the activations, for which there is a formula for the UNets of Stage B and C only"
    )
    report.say(
        "memory", f"{text}\n{gib(more)} GiB more than now; {gib(free)} GiB free {'RAM' if on_cpu() else 'on the GPU'}"
    )
    if more > free:
        report.problem(
            f"A step needs {gib(more)} GiB more than is in use, and {gib(free)} GiB are free ({forecast.described()}): "
            f"{memory_remedies(trainer)}."
        )
    return forecast


def memory_remedies(trainer) -> str:
    """Flags of this run that would need less."""
    args, remedies = trainer.args, []
    if args.per_device_train_batch_size > 1:
        remedies.append("a smaller --per_device_train_batch_size with more --gradient_accumulation_steps")
    if not args.recompute and trainer.task.stage is not None:
        remedies.append("--recompute True")
    if args.optim.value == "adamw":
        remedies.append("--optim adamw_mini")
    if trainer.average is not None:
        remedies.append("no --ema_decay")
    return "use " + ", ".join([*remedies, *trainer.task.less_memory, "a smaller --resolution"])


def _numbers(tensor) -> int:
    return math.prod(tensor.shape)
