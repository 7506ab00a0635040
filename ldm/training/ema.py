"""The running average of the UNet's weights: ppdiffusers' EMAModel, kept in the checkpoint as a file of its own."""

from pathlib import Path

from paddlenlp.trainer import TrainerCallback

from ldm.training.checkpoint import EMA_FILE
from ldm.weights.convert import write_state
from ldm.weights.files import TensorFile

STEP_KEY = "optimization_step"


class Average:
    """EMA of a UNet. The decay ramps up as (1 + n) / (10 + n) until it reaches `decay`."""

    def __init__(self, unet, decay: float):
        from ppdiffusers.training_utils import EMAModel

        self.keys = list(unet.state_dict())
        self.parameters = list(unet.state_dict().values())
        self.model = EMAModel([parameter.astype("float32") for parameter in self.parameters], decay=decay)

    def update(self):
        """Take in the weights after an optimiser step."""
        self.model.step(self.parameters)

    def save(self, folder, config: dict):
        """Write the average to `folder`, float32, atomically."""
        state = dict(zip(self.keys, self.model.shadow_params))
        write_state(
            state, Path(folder) / EMA_FILE, "stage_c", "float32", config, {STEP_KEY: self.model.optimization_step}
        )

    def load(self, folder):
        """Continue from a checkpoint's average; FileNotFoundError if it has none."""
        path = Path(folder) / EMA_FILE
        with TensorFile(path) as file:
            for key, shadow in zip(self.keys, self.model.shadow_params):
                shadow.set_value(file.read(key))
            self.model.optimization_step = int(file.metadata[STEP_KEY])


class AverageUpdate(TrainerCallback):
    """Updates the average after every optimiser step."""

    def __init__(self, average: Average):
        self.average = average

    def on_step_end(self, args, state, control, **kwargs):
        self.average.update()
