"""How training is spread over noise levels: --noise_shift and --loss_weight, whose adaptive one agrees on all ranks."""

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import paddle

from ldm.common.atomic import atomic_path
from ldm.common.json_files import read_json
from ldm.diffusion.loss import AdaptiveWeight, min_snr_weight, p2_weight, uniform_weight
from ldm.diffusion.schedule import CosineSchedule
from ldm.training.checkpoints.restore import damaged

NAMES = ("p2", "adaptive", "min_snr", "none")
ADAPTIVE_FILE = "adaptive_weight.json"


class Weighting:
    """Sets how a stage weighs its loss, and keeps the state of the adaptive weight. stage: None where nothing is denoised.

    The buckets of the adaptive weight move once per optimiser step, by all its samples in the order of the run: all
    ranks of one accumulation step, then of the next. So they depend on what was trained on, not on how it was spread.
    """

    def __init__(self, stage, name: str, min_snr_gamma: float = 5.0, p2_shift: float = 1.0, noise_shift: float = 1.0):
        self.stage, self.seen = stage, []
        if stage is not None:
            stage.schedule = CosineSchedule(shift=noise_shift)
            weights = {
                "p2": partial(p2_weight, shift=p2_shift),
                "min_snr": partial(min_snr_weight, gamma=min_snr_gamma, prediction_type=stage.unet.prediction_type),
                "none": uniform_weight,
            }
            stage.loss_weight = AdaptiveWeight() if name == "adaptive" else weights[name]
        elif name != "p2" or p2_shift != 1 or noise_shift != 1:
            shifts = f"--p2_shift {p2_shift:g}" if p2_shift != 1 else f"--noise_shift {noise_shift:g}"
            flag = f"--loss_weight {name}" if name != "p2" else shifts
            raise ValueError(f"{flag}: what is trained here has no noise levels. Leave the flag out.")

    @property
    def adaptive(self):
        """The AdaptiveWeight in use, or None."""
        weight = None if self.stage is None else self.stage.loss_weight
        return weight if isinstance(weight, AdaptiveWeight) else None

    def collect(self):
        """Remember the noise levels and losses of the batch that the stage has just seen."""
        if self.adaptive is not None:
            objective = self.stage.objective
            self.seen.append(paddle.stack([objective.log_snr, objective.per_sample]).detach())

    def update(self, use: bool = True):
        """Move the buckets by what was collected since the last call; use: False forgets it."""
        seen, self.seen = self.seen, []
        if not (seen and use):
            return
        stacked = paddle.stack(seen, axis=1)  # (2, accumulation steps, B)
        ranks = [stacked]
        if paddle.distributed.get_world_size() > 1:
            ranks = []
            paddle.distributed.all_gather(ranks, stacked)
        log_snr, losses = paddle.stack(ranks, axis=2).flatten(1)  # (2, accumulation steps, ranks, B)
        self.adaptive.update(log_snr, losses)

    @contextmanager
    def comparable(self):
        """The stage with the P2 weight and unshifted noise, so that any runs can be compared by their `fixed_loss`."""
        stage = self.stage
        if stage is None:
            yield
            return
        own = stage.loss_weight, stage.schedule
        stage.loss_weight, stage.schedule = p2_weight, CosineSchedule()
        try:
            yield
        finally:
            stage.loss_weight, stage.schedule = own

    def save(self, folder):
        """Write the adaptive weight's state, bit for bit; nothing for the others."""
        if self.adaptive is not None:
            with atomic_path(Path(folder) / ADAPTIVE_FILE) as temporary:
                temporary.write_text(json.dumps(self.adaptive.state()) + "\n")

    def load(self, path):
        """Continue from a checkpoint's file."""
        if self.adaptive is not None:
            try:
                self.adaptive.load_state(read_json(path))
            except (ValueError, TypeError, KeyError, OSError) as error:
                raise damaged(path, f"is not the state of an adaptive weight ({error})") from error
