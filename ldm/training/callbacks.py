"""What is logged beside the loss: the gradient norm, and pictures of fixed prompts and seeds."""

from pathlib import Path

import numpy as np
from paddlenlp.trainer import TrainerCallback
from paddlenlp.trainer.integrations import VisualDLCallback

from ldm.images import contact_sheet, save_png
from ldm.training.optimizer import global_norm


class GradientNorm(TrainerCallback):
    """The gradients' global norm before clipping, computed only at steps that are logged."""

    def __init__(self):
        self.value = None

    def on_optimizer_begin(self, args, state, control, model=None, scaler=None, **kwargs):
        self.value = None
        if (state.global_step + 1) % args.logging_steps == 0:
            scale = float(scaler._scale) if scaler is not None else 1.0
            self.value = global_norm(model.parameters(), scale)

    def added_to(self, logs: dict) -> dict:
        """`logs` of a training step with `grad_norm`; others (the run's summary) unchanged."""
        return {**logs, "grad_norm": round(self.value, 6)} if self.value is not None and "loss" in logs else logs


class Look(TrainerCallback):
    """At the start, every `image_logging_steps` steps and at the end: the loss on fixed noise, and a picture.

    The step loss jumps with the noise levels drawn; `fixed_loss` is taken on the same samples, noise and times
    throughout, and shows within a few steps whether anything is learned. The picture is the task's, as PNG in
    `pictures/` and in VisualDL.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        self.look(args, state, control, due=True)

    def on_step_end(self, args, state, control, **kwargs):
        due = args.image_logging_steps and state.global_step % args.image_logging_steps == 0
        self.look(args, state, control, due or state.global_step == state.max_steps)

    def look(self, args, state, control, due):
        if not (args.image_logging_steps and due and state.is_world_process_zero):
            return
        should_log = control.should_log
        self.trainer.log({"fixed_loss": self.trainer.fixed_loss()})
        control.should_log = should_log  # logging resets it, and the step's own entry would be lost
        if self.trainer.task.picture is not None:
            self.picture(args, state.global_step)

    def picture(self, args, step: int):
        images, settings = self.trainer.task.picture()
        sheet = np.asarray(contact_sheet(list(images)))
        save_png(Path(args.output_dir) / "pictures" / f"step_{step:06d}.png", sheet, {**settings, "step": step})
        for callback in self.trainer.callback_handler.callbacks:
            if isinstance(callback, VisualDLCallback) and callback.vdl_writer is not None:
                callback.vdl_writer.add_image("preview", sheet, step)
