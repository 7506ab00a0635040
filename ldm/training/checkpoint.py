"""What a Trainer's checkpoint holds, and writing its networks out as files that inference and training load."""

import json
from dataclasses import asdict
from pathlib import Path

from ldm.atomic import atomic_path
from ldm.clip_tower import write_tower
from ldm.networks.variants import variant_config
from ldm.release import build_unfilled, file_name
from ldm.training.task import NetworkEntry
from ldm.weights.convert import network_shapes, write_state
from ldm.weights.detect import version_of_shapes
from ldm.weights.files import TensorFile
from ldm.weights.pickles import read_pdparams
from ldm.weights.plan import check_same_shapes

STATE_FILE, EMA_FILE, NETWORKS_FILE = "model_state.pdparams", "ema.safetensors", "networks.json"
TOWERS = {"text_encoder": "text", "image_encoder": "image"}  # folders of a release, as `write_tower` knows them
PRIOR = "unet"  # the attribute under which ModelC keeps its network


def save_networks(folder, networks: dict):
    """Write which networks a checkpoint holds, with their constructor arguments, beside the weights."""
    with atomic_path(Path(folder) / NETWORKS_FILE) as temporary:
        entries = {name: asdict(entry) for name, entry in networks.items()}
        temporary.write_text(json.dumps(entries, indent=2) + "\n")


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
    """Write the prior of a Trainer's checkpoint (folder or file) to `target`, a safetensors file. Returns the source.

    ema: the averaged weights instead of the last ones. The state is checked against the network it claims to be:
    WeightsMismatch names every missing, unexpected and misshapen key.
    """
    state_file, state = read_state(checkpoint, ema)
    state = part_of(state, PRIOR, state_file)
    entry = _saved_networks(state_file).get(PRIOR) or _released_prior(state_file, state)
    write_network(target, entry, state, dtype, str(state_file))
    return state_file


def export_networks(checkpoint, release, version=None, dtype: str = "float16", ema: bool = False) -> list[Path]:
    """Write every network of a checkpoint into the folder `release` under the official names and in their layout.

    version: which of the release's names a Stage B or C gets ("1B", "700M", ...; needed for those). Returns the files.
    """
    state_file, state = read_state(checkpoint, ema)
    networks = _saved_networks(state_file)
    if not networks:
        raise ValueError(f"{state_file.with_name(NETWORKS_FILE)} is missing: which networks are these weights of?")
    written = []
    for name, entry in networks.items():
        part = part_of(state, name, state_file)
        if entry.kind in TOWERS:
            target = Path(release) / entry.kind
            write_tower(target, TOWERS[entry.kind], entry.config, part, dtype)
        else:
            target = Path(release) / file_name(entry.kind, version)
            write_network(target, entry, part, dtype, str(state_file), to_release=True)
        written.append(target)
    return written


def read_state(checkpoint, ema: bool = False) -> tuple[Path, dict]:
    """The file read, and the model's whole state {key: array}: the last weights, or their average."""
    state_file = find_state_file(checkpoint)
    if not ema:
        return state_file, read_pdparams(state_file)
    state_file = state_file.with_name(EMA_FILE)
    if not state_file.is_file():
        raise FileNotFoundError(f"{state_file} does not exist: this run kept no average, train with --ema_decay.")
    with TensorFile(state_file) as file:
        return state_file, {key: file.read(key) for key in file.keys()}


def part_of(state: dict, name: str, source) -> dict:
    """The network `name` of a model's state, under its own keys."""
    prefix = f"{name}."
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not part:
        raise ValueError(f"{source} has no keys that begin with {prefix!r}: it is no checkpoint of this trainer.")
    return part


def write_network(target, entry: NetworkEntry, state: dict, dtype: str, source: str, to_release: bool = False):
    """Check a network's state against its constructor arguments and write it, Paddle's layout or the official one."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    check_same_shapes(shapes, network_shapes(build_unfilled(entry.kind, entry.config)), source)
    write_state(state, target, entry.kind, dtype, entry.config, entry.notes, to_release=to_release)


def _saved_networks(state_file: Path) -> dict:
    saved = state_file.with_name(NETWORKS_FILE)
    if not saved.is_file():
        return {}
    return {name: NetworkEntry(**entry) for name, entry in json.loads(saved.read_text()).items()}


def _released_prior(state_file: Path, state: dict) -> NetworkEntry:
    """A prior of a released size needs no record of its arguments: its shapes tell them."""
    version = version_of_shapes({key: value.shape for key, value in state.items()}, "stage_c", paddle_layout=True)
    if version is None:
        missing = state_file.with_name(NETWORKS_FILE)
        raise ValueError(
            f"{state_file} is no released size, and {missing} is missing: extract from the checkpoint's folder."
        )
    return NetworkEntry("stage_c", variant_config("stage_c", version))
