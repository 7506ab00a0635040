"""The running average of the trained weights: ppdiffusers' EMAModel, kept in the checkpoint as a file of its own."""

from pathlib import Path

from paddlenlp.trainer import TrainerCallback

from ldm.training.checkpoint import EMA_FILE
from ldm.weights.files import TensorFile, state_entries, write_tensors

STEP_KEY = "optimization_step"


class Average:
    """EMA of a model's state dict. The decay ramps up as (1 + n) / (10 + n) until it reaches `decay`."""

    def __init__(self, model, decay: float):
        from ppdiffusers.training_utils import EMAModel

        self.keys = list(model.state_dict())
        self.parameters = list(model.state_dict().values())
        self.model = EMAModel([parameter.astype("float32") for parameter in self.parameters], decay=decay)

    def update(self):
        """Take in the weights after an optimiser step."""
        self.model.step(self.parameters)

    def save(self, folder):
        """Write the average to `folder` under the model's keys, float32, atomically."""
        entries = state_entries(dict(zip(self.keys, self.model.shadow_params)), "float32")
        write_tensors(Path(folder) / EMA_FILE, entries, {STEP_KEY: str(self.model.optimization_step)})

    def load(self, folder):
        """Continue from a checkpoint's average; FileNotFoundError if it has none."""
        with TensorFile(Path(folder) / EMA_FILE) as file:
            for key, shadow in zip(self.keys, self.model.shadow_params):
                shadow.set_value(file.read(key))
            self.model.optimization_step = int(file.metadata[STEP_KEY])


class AverageUpdate(TrainerCallback):
    """Updates the average after every optimiser step."""

    def __init__(self, average: Average):
        self.average = average

    def on_step_end(self, args, state, control, **kwargs):
        self.average.update()
