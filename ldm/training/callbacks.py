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


class PictureLog(TrainerCallback):
    """Every `image_logging_steps` steps, two previews of one caption with fixed seeds, as PNG and in VisualDL."""

    SEEDS = 2

    def __init__(self, model, caption: str, size: int, visualdl: VisualDLCallback = None):
        self.model, self.caption, self.size, self.visualdl = model, caption, size, visualdl

    def on_train_begin(self, args, state, control, **kwargs):
        if args.image_logging_steps and state.is_world_process_zero:
            self.log(args, state.global_step)

    def on_step_end(self, args, state, control, **kwargs):
        due = args.image_logging_steps and state.global_step % args.image_logging_steps == 0
        if due and state.is_world_process_zero:
            self.log(args, state.global_step)

    def log(self, args, step: int):
        images, _ = self.model.log_image(
            self.caption, self.size, self.size, batch_size=self.SEEDS, seed=0, steps=args.num_inference_steps, progress=False
        )
        sheet = np.asarray(contact_sheet(list(images)))
        settings = {"caption": self.caption, "step": step, "seed": 0, "steps": args.num_inference_steps, "size": self.size}
        save_png(Path(args.output_dir) / "pictures" / f"step_{step:06d}.png", sheet, settings)
        if self.visualdl is not None and self.visualdl.vdl_writer is not None:
            self.visualdl.vdl_writer.add_image("preview", sheet, step)
