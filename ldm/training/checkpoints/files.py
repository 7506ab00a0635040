"""The files of a Trainer's checkpoint: which networks it holds, where their weights are, and reading them."""

import json
from pathlib import Path

from ldm.common.atomic import atomic_path
from ldm.common.json_files import read_json
from ldm.training.checkpoints.staging import MANIFEST, check_listed, checkpoint_folders, problem_of
from ldm.training.task import NetworkEntry
from ldm.training.tasks.adapter import KIND, check_config
from ldm.weights.files import TensorFile
from ldm.weights.pickles import read_pdparams

STATE_FILE, EMA_FILE, NETWORKS_FILE = "model_state.pdparams", "ema.safetensors", "networks.json"
TOWERS = {"text_encoder": "text", "image_encoder": "image"}  # folders of a release, as `write_tower` knows them
SAVED_FIELDS = ("kind", "config", "notes")  # of a NetworkEntry


def save_networks(folder, networks: dict, files: bool = True):
    """Write which networks a checkpoint holds, with their constructor arguments, beside the weights.

    files: with the files of their own that some have beside a checkpoint, which must be finite.
    """
    with atomic_path(Path(folder) / NETWORKS_FILE) as temporary:
        entries = {name: {f: getattr(entry, f) for f in SAVED_FIELDS} for name, entry in networks.items()}
        temporary.write_text(json.dumps(entries, indent=2) + "\n")
    for entry in networks.values():
        if files and entry.write is not None:
            entry.write(folder)


def check_networks(folder, networks: dict):
    """ValueError if a checkpoint is of other networks than `networks`: Paddle would leave out what does not fit."""
    saved = saved_networks(Path(folder) / STATE_FILE)
    _check_adapter(folder, saved.get(KIND), networks.get(KIND))
    for name in sorted((saved.keys() | networks.keys()) - {KIND}) if saved else ():
        if name not in saved or name not in networks:
            raise _not_ours(folder, f"is of a run {'with' if name in saved else 'without'} training {name!r}")
        ours = networks[name]
        if saved[name].kind != ours.kind:
            raise ValueError(
                f"{Path(folder) / NETWORKS_FILE}: {name!r} is a {saved[name].kind[:80]!r}, not a {ours.kind!r}: take another "
                "checkpoint."
            )
        if saved[name].config != _as_saved(ours.config):
            raise _not_ours(folder, f"holds a {name!r} of another size")


def _check_adapter(folder, saved, ours):
    """ValueError if a checkpoint's LoRA or tokens (entries or None) are others than `ours`, or belong to another prior.

    Their weights might have the same shapes, and would be continued as what they are not.
    """
    if (saved is None) != (ours is None):
        raise _not_ours(folder, f"is of a run {'without' if saved is None else 'with'} a LoRA or learned tokens")
    if saved is None:
        return
    config = _as_saved(ours.config)
    kept = {name: value for name, value in saved.config.items() if name != "base"}  # a file, which may have moved
    differing = [name for name, value in kept.items() if config.get(name) != value]
    if differing:
        raise _not_ours(folder, f"was trained with other {', '.join(differing)} of the LoRA or its tokens")


def _as_saved(config: dict) -> dict:
    """Constructor arguments as they come back from a file: tuples are lists there."""
    return json.loads(json.dumps(config))


def _not_ours(folder, difference: str) -> ValueError:
    return ValueError(
        f"{folder} {difference}: continue it with the flags it was begun with (options.json), or choose another --output_dir."
    )


def find_state_file(checkpoint) -> Path:
    """The weights of a checkpoint: the file itself, that of a checkpoint folder, or of an output folder's last one."""
    path = Path(checkpoint)
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(f"The checkpoint {path} does not exist.")
    complete = [
        folder
        for folder in checkpoint_folders(path)
        if (folder / STATE_FILE).is_file() and not _problem_of_listed(folder)
    ]
    if (path / STATE_FILE).is_file():
        if problem := _problem_of_listed(path):
            raise ValueError(f"{path} is not complete: {problem}. Take another checkpoint.")
        later = bool(complete) and steps_done(complete[-1]) > steps_done(path)  # a finished run that was made longer
        return (complete[-1] if later else path) / STATE_FILE
    if not complete:
        raise FileNotFoundError(
            f"{path} is no checkpoint folder: it has neither {STATE_FILE} nor a complete checkpoint-N with one."
        )
    return complete[-1] / STATE_FILE


def steps_done(folder) -> int:
    """Optimiser steps behind a checkpoint or an output folder's final weights; 0 if nothing says it."""
    state = Path(folder) / "trainer_state.json"
    step = read_json(state).get("global_step", 0) if state.is_file() else 0
    if type(step) is not int:
        raise ValueError(f"{state}: global_step is {str(step)[:40]}, not a number of steps: take another checkpoint.")
    return step


def _problem_of_listed(folder: Path):
    """`problem_of` a folder that has a list of its files. An output folder has none, nor have other tools' checkpoints."""
    return problem_of(folder) if (folder / MANIFEST).is_file() else None


def read_state(checkpoint, ema: bool = False) -> tuple[Path, dict]:
    """The file read, and the model's complete state {key: array}: the last weights, or their average."""
    state_file = find_state_file(checkpoint)
    if ema:
        state_file = state_file.with_name(EMA_FILE)
        if not state_file.is_file():
            raise FileNotFoundError(f"{state_file} does not exist: this run kept no average, train with --ema_decay.")
    for path in (state_file.with_name(NETWORKS_FILE), state_file):
        check_listed(path)
    if not ema:
        return state_file, read_pdparams(state_file)
    with TensorFile(state_file) as file:
        if odd := [key for key in file.keys() if file.dtypes[key] != "F32"]:
            raise ValueError(
                f"{state_file}: {odd[0][:80]!r} is {file.dtypes[odd[0]]}, an average is F32: take another checkpoint."
            )
        return state_file, {key: file.read(key) for key in file.keys()}


def part_of(state: dict, name: str, source) -> dict:
    """The network `name` of a model's state, under its own keys."""
    prefix = f"{name}."
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    if not part:
        raise ValueError(f"{source} has no keys that begin with {prefix!r}: it is no checkpoint of this trainer.")
    return part


def saved_networks(state_file: Path) -> dict:
    saved = state_file.with_name(NETWORKS_FILE)
    return read_networks(saved) if saved.is_file() else {}


def read_networks(path) -> dict:
    """{name: NetworkEntry} of a checkpoint's networks.json; ValueError for anything that is not one."""
    entries = read_json(path, remedy="take another checkpoint")
    for name, entry in entries.items():
        fits = isinstance(entry, dict) and {"kind", "config"} <= entry.keys() <= set(SAVED_FIELDS)
        if not fits or not isinstance(entry["kind"], str) or not isinstance(entry["config"], dict):
            raise ValueError(
                f"{path}: the entry {name[:80]!r} is not a network's kind and config: take another checkpoint."
            )
        notes = entry.get("notes", {})
        if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
            raise ValueError(f"{path}: the notes of {name[:80]!r} are not texts: take another checkpoint.")
        if entry["kind"] == KIND:
            check_config(entry["config"], path)
    return {name: NetworkEntry(**entry) for name, entry in entries.items()}
