"""The running average of the trained weights: ppdiffusers' EMAModel, kept in the checkpoint as a file of its own."""

from contextlib import contextmanager
from pathlib import Path

import paddle
from paddlenlp.trainer import TrainerCallback

from ldm.training.checkpoints.files import EMA_FILE
from ldm.training.checkpoints.restore import damaged
from ldm.training.optimizer import master_weights
from ldm.weights.files import TensorFile, state_entries, write_tensors
from ldm.weights.plan import check_same_shapes

STEP_KEY = "optimization_step"


class Average:
    """EMA of a model's state dict, float32. The decay ramps up as (1 + n) / (10 + n) until it reaches `decay`."""

    def __init__(self, model, decay: float):
        from ppdiffusers.training_utils import EMAModel

        self.keys = list(model.state_dict())
        self.parameters = list(model.state_dict().values())
        self.model = EMAModel([parameter.astype("float32") for parameter in self.parameters], decay=decay)

    def update(self, masters=None):
        """Take in the weights after an optimiser step.

        masters: {parameter name: its float32 original} under mixed precision. The weights in the network are rounded to
        16 bits, and an average of those would stand still as soon as a step is smaller than their last digit.
        """
        masters = masters or {}
        self.model.step([_original(parameter, masters) for parameter in self.parameters])

    @contextmanager
    def averaged(self):
        """The model with its average in place of its weights; afterwards they are back, bit for bit."""
        self.model.store(self.parameters)
        try:
            self.model.copy_to(self.parameters)
            yield
        finally:
            self.model.restore(self.parameters)

    def save(self, folder, evidence: bool = False):
        """Write the average to `folder` under the model's keys, float32, atomically. evidence: also if it is not finite."""
        entries = state_entries(dict(zip(self.keys, self.model.shadow_params)), "float32")
        notes = {STEP_KEY: str(self.model.optimization_step)}
        write_tensors(Path(folder) / EMA_FILE, entries, notes, allow_non_finite=evidence)

    def load(self, path, read: bool = True):
        """Continue from a checkpoint's average, its file; FileNotFoundError if it has none.

        read: whether this rank reads it; the first does, and the others are sent what it has read.
        """
        step = paddle.zeros([1], dtype="int64")
        if read:
            values, done = read_average(path, self.keys, self.model.shadow_params)
            for value, shadow in zip(values, self.model.shadow_params):
                shadow.set_value(value)
            step = paddle.to_tensor([done], dtype="int64")
        if paddle.distributed.get_world_size() > 1:
            for tensor in (*self.model.shadow_params, step):
                paddle.distributed.broadcast(tensor, src=0)
        self.model.optimization_step = int(step)


def read_average(path, keys, shadows) -> tuple[list, int]:
    """The tensors `keys` of an average's file, checked to be finite and in the shapes of `shadows`, and their number of steps."""
    with TensorFile(path) as file:
        check_same_shapes(file.shapes, {key: tuple(shadow.shape) for key, shadow in zip(keys, shadows)}, str(path))
        done = file.metadata.get(STEP_KEY, "")
        if not (done.isascii() and done.isdigit() and len(done) < 12):
            raise damaged(path, f"says that it is the average of {done[:40]!r} steps")
        values = [file.read(key) for key in keys]
    for key, value in zip(keys, values):
        if value.dtype != paddle.float32 or not bool(paddle.isfinite(value).all()):
            raise damaged(path, f"has NaN or infinity in {key}, or is not float32")
    return values, int(done)


def _original(parameter, masters: dict):
    """A parameter's float32 original, else itself; EMAModel averages what has a gradient and copies the rest."""
    if parameter.name not in masters:
        return parameter
    original = masters[parameter.name].detach()  # the same memory
    original.stop_gradient = parameter.stop_gradient
    return original


class AverageUpdate(TrainerCallback):
    """Updates the average after every optimiser step."""

    def __init__(self, average: Average):
        self.average = average

    def on_step_end(self, args, state, control, optimizer=None, **kwargs):
        self.average.update(master_weights(optimizer))
