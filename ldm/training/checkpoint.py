"""What a Trainer's checkpoint holds of the prior, and extracting it into a file that inference loads."""

import json
from pathlib import Path

from ldm.atomic import atomic_path
from ldm.networks.variants import variant_config
from ldm.release import build_unfilled
from ldm.weights.convert import network_shapes, write_state
from ldm.weights.detect import version_of_shapes
from ldm.weights.files import TensorFile
from ldm.weights.pickles import read_pdparams
from ldm.weights.plan import check_same_shapes

STATE_FILE, EMA_FILE, CONFIG_FILE = "model_state.pdparams", "ema.safetensors", "unet_config.json"
PREFIX = "unet."


def save_unet_config(folder, config: dict):
    """Write the UNet's constructor arguments beside its weights."""
    with atomic_path(Path(folder) / CONFIG_FILE) as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n")


def find_state_file(checkpoint) -> Path:
    """The weights of a checkpoint: the file itself, that of a checkpoint folder, or of an output folder's last one."""
    path = Path(checkpoint)
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(f"The checkpoint {path} does not exist.")
    if (path / STATE_FILE).is_file():
        return path / STATE_FILE
    numbered = [p for p in path.glob("checkpoint-*") if p.name.removeprefix("checkpoint-").isdigit()]
    complete = [p for p in numbered if (p / STATE_FILE).is_file()]
    if not complete:
        raise FileNotFoundError(
            f"{path} is no checkpoint folder: it has neither {STATE_FILE} nor a checkpoint-N with one."
        )
    return max(complete, key=lambda p: int(p.name.removeprefix("checkpoint-"))) / STATE_FILE


def extract_unet(checkpoint, target, dtype: str = "float32", ema: bool = False) -> Path:
    """Write the UNet of a Trainer's checkpoint (folder or file) to `target`, a safetensors file. Returns the source.

    ema: the averaged weights instead of the last ones. The state is checked against the network it claims to be:
    WeightsMismatch names every missing, unexpected and misshapen key.
    """
    state_file = find_state_file(checkpoint)
    if ema:
        state_file = state_file.with_name(EMA_FILE)
        if not state_file.is_file():
            raise FileNotFoundError(f"{state_file} does not exist: this run kept no average, train with --ema_decay.")
        with TensorFile(state_file) as file:
            state = {key: file.read(key) for key in file.keys()}
    else:
        arrays = read_pdparams(state_file)
        state = {key.removeprefix(PREFIX): value for key, value in arrays.items() if key.startswith(PREFIX)}
        if not state:
            raise ValueError(
                f"{state_file} has no keys that begin with {PREFIX!r}: it is no checkpoint of this trainer."
            )
    config = _unet_config(state_file, state)
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    check_same_shapes(shapes, network_shapes(build_unfilled("stage_c", config)), str(state_file))
    write_state(state, target, "stage_c", dtype, config)
    return state_file


def _unet_config(state_file: Path, state: dict) -> dict:
    """Constructor arguments: saved beside the weights, or those of the version that the shapes show."""
    saved = state_file.with_name(CONFIG_FILE)
    if saved.is_file():
        return json.loads(saved.read_text())
    version = version_of_shapes({key: value.shape for key, value in state.items()}, "stage_c", paddle_layout=True)
    if version is None:
        raise ValueError(
            f"{state_file} is no released size, and {saved} is missing: extract from the checkpoint's folder."
        )
    return variant_config("stage_c", version)
