"""What is logged beside the loss: the gradient norm, the loss on fixed noise, and pictures that never vary but by the weights."""

from pathlib import Path

import paddle
from paddlenlp.trainer import TrainerCallback
from paddlenlp.trainer.integrations import VisualDLCallback

from ldm.training.checkpoints.rng_state import preserved_rng_state
from ldm.training.optimizer import global_norm, gradient_shard
from ldm.training.watching.pictures import Pictures, base_column, save_or_warn, sheet_of


class GradientNorm(TrainerCallback):
    """The gradients' global norm before clipping, computed only at steps that are logged; not with --sharding and --fp16."""

    def __init__(self):
        self.value = None

    def on_optimizer_begin(self, args, state, control, model=None, optimizer=None, scaler=None, **kwargs):
        self.value = None
        if (state.global_step + 1) % args.logging_steps:
            return
        own, group = gradient_shard(model.parameters(), optimizer)
        if group is not None and scaler is not None:
            return  # under loss scaling PaddleNLP sums the ranks' gradients later than this
        scale = float(scaler._scale) if scaler is not None else 1.0
        self.value = global_norm(own, scale)
        if group is not None:
            squared = paddle.to_tensor([self.value**2])
            paddle.distributed.all_reduce(squared, group=group)
            self.value = float(squared) ** 0.5

    def added_to(self, logs: dict) -> dict:
        """`logs` of a training step with `grad_norm`; others (the run's summary) unchanged."""
        return {**logs, "grad_norm": round(self.value, 6)} if self.value is not None and "loss" in logs else logs


class ImageLogger(TrainerCallback):
    """At the start, every so many steps and at the end: the loss on fixed noise, and sheets of the task's pictures.

    The step loss jumps with the noise levels drawn; `fixed_loss` is taken on the same samples, noise and times
    throughout, and shows within a few steps whether anything is learned. A sheet shows the weights, their average where
    there is one, and beside them the model that the run started from; as PNG in `pictures/` and in VisualDL. Only the
    first process logs, and nothing that it does changes the run.
    """

    def __init__(self, trainer):
        self.trainer, self.base = trainer, {}

    def keep_base(self):
        """Make or read the pictures of the weights that the run starts from; before a checkpoint is loaded."""
        args = self.trainer.args
        if args.process_index != 0:
            return
        for pictures in self.trainer.task.pictures:
            if self._period(pictures):
                with preserved_rng_state():
                    folder = Path(args.output_dir) / "pictures" / "base"
                    self.base[pictures.name] = base_column(pictures, folder)

    def on_train_begin(self, args, state, control, **kwargs):
        resumed = state.global_step > 0  # then what costs minutes waits for its turn
        self.log(args, state, control, lambda period, own: not (resumed and own))

    def on_step_end(self, args, state, control, **kwargs):
        step, last = state.global_step, state.global_step == state.max_steps
        self.log(args, state, control, lambda period, own: last or step % period == 0)

    def log(self, args, state, control, due):
        """due(period, whether it is of these pictures alone): whether it is their turn."""
        if not state.is_world_process_zero:
            return
        losses = args.image_logging_steps and due(args.image_logging_steps, False)
        chosen = [p for p in self.trainer.task.pictures if self._period(p) and due(self._period(p), p.every > 0)]
        if not (losses or chosen):
            return
        with preserved_rng_state(), self.trainer.pace.aside():
            if losses:
                should_log = control.should_log
                self.trainer.log(self.trainer.fixed_losses())
                control.should_log = should_log  # logging resets it, and the step's own entry would be lost
            for pictures in chosen:
                self.show(pictures, state.global_step)

    def show(self, pictures: Pictures, step: int):
        """Write a sheet and hand it to VisualDL. Pictures that could not be made are grey cells in it, never black ones."""
        base = self.base[pictures.name]
        sheet = sheet_of(pictures, base, step, self._columns(pictures, base, step))
        name = f"step_{step:06d}_{pictures.name}" if pictures.every else f"step_{step:06d}"
        settings = {**pictures.settings, "rows": list(pictures.rows), "step": step}
        save_or_warn(Path(self.trainer.args.output_dir) / "pictures" / f"{name}.png", sheet, settings)
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, VisualDLCallback) and callback.vdl_writer is not None:
                callback.vdl_writer.add_image(pictures.name, sheet, step)

    def _columns(self, pictures: Pictures, base: list, step: int) -> dict:
        """{title: pictures} of the weights and of their average; at step 0 both are those of the base."""
        average, names = self.trainer.average, (f"step {step}", f"average at step {step}")
        if step == 0:
            return dict.fromkeys(names[: 1 if average is None else 2], base)
        with pictures.opened() as made:
            columns = {names[0]: made()}
            if average is not None:
                with average.averaged():
                    columns[names[1]] = made()
        return columns

    def _period(self, pictures: Pictures) -> int:
        return pictures.every or self.trainer.args.image_logging_steps
