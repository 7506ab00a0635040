"""Losses and gradients that are not finite: noticed before they reach the weights, traced to their origin, reported."""

import math

import paddle
from paddlenlp.trainer import TrainerCallback
from paddlenlp.utils.log import logger

from ldm.training.batch_norms import batch_norms
from ldm.training.non_finite.batch import save_bad_batch
from ldm.training.non_finite.origin import find_origin
from ldm.weights.finite import finite

LOWEST_LOSS_SCALE = 1.0  # below it, scaling makes gradients smaller: it has lost its purpose
MOST_SKIPPED = 10  # steps in a row; after so many, the weights themselves will not do
CLEAN, BAD_GRADIENT, BAD_LOSS = 0, 1, 2


class NonFinite(FloatingPointError):
    """A loss or gradient is infinite or no number, or the fp16 loss scale has collapsed."""


class Guard(TrainerCallback):
    """Checks every step between backward pass and optimiser, on all ranks together.

    A gradient that overflows under fp16's loss scaling is none of its business unless the scale has collapsed: the
    scaler itself drops such a step. `trainer` gives model, dataset and the way a step is computed.
    """

    def __init__(self, trainer):
        self.trainer, self.batches, self.bad, self.skipped, self.overflows = trainer, [], [], 0, 0
        self.resumed_from, self.first_step = None, None
        args = trainer.args
        norms = [norm for norm in batch_norms(trainer.task.model)] if not args.freeze_batch_norm else []
        if args.on_non_finite == "skip" and norms:
            raise ValueError(
                "--on_non_finite skip: a skipped batch stays in the BatchNorms' running statistics. Add "
                "--freeze_batch_norm True, or stop."
            )

    # Called by the trainer ----------------------------------------------------------------------------------------

    def took(self, batch):
        """A BatchRecord whose loss is computed next."""
        if batch.micro_step == 0:
            self.batches, self.bad = [], []
        self.batches.append(batch)

    def checked(self, loss):
        """The loss, or 0 in its place where it is no number, so that one bad batch does not spoil the log."""
        if math.isfinite(float(loss)):
            return loss
        self.bad.append(self.batches[-1])
        return paddle.zeros_like(loss)

    # Events of the Trainer ----------------------------------------------------------------------------------------

    def on_train_begin(self, args, state, control, **kwargs):
        self.first_step = state.global_step

    def on_optimizer_begin(self, args, state, control, scaler=None, **kwargs):
        parameters = self.trainer.task.model.parameters()
        own = BAD_LOSS if self.bad else CLEAN
        if own == CLEAN and scaler is None and not finite_gradients(parameters):
            own = BAD_GRADIENT
        worst = highest_of_ranks(own)
        self.trainer.weighting.update(use=worst == CLEAN)
        if worst == CLEAN:
            self.skipped = 0
            return
        message = (
            self._report(own) if own == worst else f"Step {state.global_step + 1}: see the report of another rank."
        )
        message += self._suspected(state.global_step)
        self.skipped += 1
        if args.on_non_finite == "stop" or self.skipped > MOST_SKIPPED:
            self.trainer.wait_for_ranks()  # every rank's report is written before the first of them ends the run
            if args.on_non_finite == "skip":
                message += f" It is the {self.skipped}th such step in a row: giving up."
            raise NonFinite(message)
        logger.warning(f"{message} The step is skipped.")
        if scaler is None:  # the scaler drops the step by itself
            for parameter in parameters:
                parameter.grad = None  # without gradients, which zeros are not, the optimiser leaves everything alone

    def on_optimizer_end(self, args, state, control, scaler=None, **kwargs):
        if scaler is None:
            return
        scale, found = float(scaler._scale), bool(scaler._cache_found_inf)
        self.overflows = self.overflows + 1 if found else 0
        if scale < LOWEST_LOSS_SCALE:
            report = self._report(BAD_GRADIENT, "fp16 loss scale")
            self.trainer.wait_for_ranks()
            raise NonFinite(
                f"The fp16 loss scale has collapsed to {scale:g} after {self.overflows} steps in a row whose gradients "
                f"overflowed: no scale fits. Use --bf16 True, or --fp16_opt_level O1, or a lower --learning_rate. {report}"
            )

    def _suspected(self, step: int) -> str:
        """Whose weights the first step of a run is made with: if even that is bad, they may be the cause."""
        weights = self.resumed_from or ", ".join(map(str, self.trainer.task.files))
        if step != self.first_step or not weights:
            return ""
        return f" It is the first step with the weights of {weights}, which may be damaged themselves."

    def _report(self, kind: int, what: str = "") -> str:
        """Trace and save the step's bad batches, or all of them where only the gradient tells; what to say of it."""
        what = what or {BAD_LOSS: "loss", BAD_GRADIENT: "gradient"}[kind]
        trainer, texts = self.trainer, []
        for batch in self.bad if kind == BAD_LOSS else self.batches:
            with trainer.autocast_smart_context_manager():
                origin = find_origin(trainer.task, batch.drawn, batch.dropout_seed)
            texts.append(save_bad_batch(trainer.args.output_dir, trainer.task, batch, origin, what))
        return " ".join(texts)


@paddle.no_grad()
def finite_gradients(parameters) -> bool:
    """Whether every gradient's sum is finite, and so its elements are. Asked of all at once: a device is waited for once."""
    sums = [p.grad.sum(dtype="float32") for p in parameters if p.grad is not None]
    return not sums or finite(paddle.stack(sums))


def highest_of_ranks(value: int) -> int:
    """The largest of all ranks' values."""
    if paddle.distributed.get_world_size() == 1:
        return value
    tensor = paddle.to_tensor([value], dtype="int32")
    paddle.distributed.all_reduce(tensor, op=paddle.distributed.ReduceOp.MAX)
    return int(tensor)
