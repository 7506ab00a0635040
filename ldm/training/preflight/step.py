"""One step of a run tried beforehand: forward and back on its first batch, after which everything is as it was."""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import paddle

from ldm.common.memory import peak_allocated, reset_peak
from ldm.common.preflight_report import Report
from ldm.training.batch_norms import batch_norms
from ldm.training.batches.draws import dropout_seed
from ldm.training.batches.order import RunSampler
from ldm.training.checkpoints.rng_state import preserved_rng_state
from ldm.training.non_finite.guard import finite_gradients
from ldm.training.optimizer import global_norm
from ldm.training.preflight.weights import files_read
from ldm.training.task import Task
from ldm.weights.blame import non_finite_tensor


@dataclass(frozen=True)
class Tried:
    """What a step has shown."""

    loss: float
    gradient_norm: float
    finite: bool
    seconds: float
    peak: int  # bytes of tensors


def first_batch(trainer, steps: int) -> dict:
    """The first batch of this rank as tensors, the very one that training begins with."""
    args = trainer.args
    sampler = RunSampler(
        trainer.train_dataset,
        args.per_device_train_batch_size,
        steps * args.gradient_accumulation_steps,
        args.seed,
        args.dataset_world_size,
        args.dataset_rank,
    )
    sampler.set_epoch(0, consumed_samples=0)
    items = [trainer.train_dataset[index] for index in next(iter(sampler))]
    return {name: paddle.to_tensor(value) for name, value in trainer.data_collator(items).items()}


def drawn_for(trainer, inputs: dict) -> dict:
    """The first batch with what a run draws for it."""
    return trainer.drawn(inputs, trainer.args.seed, 0, 0)


def try_step(trainer, drawn: dict) -> Tried:
    """Loss and gradients of a batch with its draws, in training mode; weights, statistics and random numbers are not changed by it."""
    model = trainer.task.model
    with preserved_rng_state(), _unchanged(trainer.task):
        model.train()
        for norm in trainer.frozen_norms:
            norm.training = False
        paddle.seed(dropout_seed(trainer.args.seed, 0, 0, trainer.args.dataset_rank))
        reset_peak()
        start = perf_counter()
        with trainer.autocast_smart_context_manager():
            loss = trainer.task.loss(drawn)
        loss.backward()
        value, seconds = float(loss), perf_counter() - start
        trained = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
        finite = math.isfinite(value) and finite_gradients(trained)
        return Tried(value, global_norm(trained), finite, seconds, peak_allocated())


@contextmanager
def _unchanged(task: Task):
    """Afterwards: no gradients, the BatchNorms' statistics, every layer's mode and the last objective as they were."""
    model, objective = task.model, task.objective
    modes = [(layer, layer.training) for layer in model.sublayers(include_self=True)]
    statistics = [(t, t.clone()) for norm in batch_norms(model) for t in (norm._mean, norm._variance)]
    try:
        yield
    finally:
        for parameter in model.parameters():
            parameter.clear_gradient(False)
        with paddle.no_grad():
            for tensor, before in statistics:
                tensor.set_value(before)
        for layer, training in modes:
            layer.training = training
        if task.stage is not None:
            task.stage.objective = objective


def check_step(report: Report, trainer, drawn: dict, steps: int, checkpoint=None):
    """Try a step, with the weights of `checkpoint` if there is one. Its numbers must be finite. Says what the run will take, by it."""
    tried, args = try_step(trainer, drawn), trainer.args
    total = tried.seconds * steps * args.gradient_accumulation_steps
    report.say(
        "one step",
        f"loss {tried.loss:.4g}, gradient norm {tried.gradient_norm:.4g}, {tried.seconds:.1f} s forward and back (the first "
        f"is slow), tensors at most {tried.peak / 2**30:.2f} GiB; nothing was changed",
    )
    report.say(
        "duration", f"{steps} steps: at most about {duration(total)}, without optimiser, pictures and checkpoints"
    )
    if not tried.finite:
        gives = f"The first step gives loss {tried.loss:g} and gradient norm {tried.gradient_norm:g}"
        report.problem(f"{gives}: {_blame(trainer, checkpoint)}")
    return tried


def _blame(trainer, checkpoint) -> str:
    """Which file makes a first step that is not finite; all that went into it are read for that."""
    paths = files_read(trainer.task)
    for path in paths:
        if (key := non_finite_tensor(path)) is not None:
            return f"{path}: {key} is not finite (NaN or infinity): download or convert it again."
    half = "use --fp16_opt_level O1 or --bf16 True" if trainer.args.fp16 else "download or convert them again"
    start = ", ".join(map(str, [*([checkpoint] if checkpoint is not None else []), *paths]))
    return f"all numbers in {start} are finite, but too large to compute with: {half}."


def duration(seconds: float) -> str:
    """'3 h 20 min', '12 min' or '40 s'."""
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min"
        if minutes
        else f"{seconds:.0f} s"
    )
