"""An adapter (LoRA, learned tokens) in training: what its checkpoint says about it, and the files made from one."""

import json
from functools import partial
from pathlib import Path
from typing import Optional

import numpy as np

from ldm.adapters.base import BASE_KEY, ROUNDED_KEY, base_notes
from ldm.adapters.files import FILTERS_KEY, LARGEST_TOKEN, LoraFile, TokenUpdate, merge_into, write_lora
from ldm.adapters.layouts import POSITIONAL, from_positional
from ldm.adapters.lora import find_targets
from ldm.model_c import ModelC
from ldm.training.task import NetworkEntry
from ldm.weights.fingerprint import heads_of_state, state_fingerprint
from ldm.weights.plan import errors_name, report_mismatch
from ldm.weights.release import build_unfilled, load_network

KIND = "lora"  # of the entry in networks.json, and the attribute under which ModelC keeps its adapter
LORA_FILE = "lora.safetensors"  # in every checkpoint, the release's layout
TOKENS = "embeddings.embeddings"


def _is_list(kind):
    return lambda value: isinstance(value, list) and all(type(item) is kind for item in value)


FIELDS = {  # of a config: what a value may be
    **dict.fromkeys(("filters", "tokens"), _is_list(str)),
    "indices": lambda value: _is_list(int)(value) and all(0 <= index < LARGEST_TOKEN for index in value),
    "alpha": lambda value: type(value) in (int, float) and 0 < value < float("inf"),
    "network": lambda value: isinstance(value, dict),
    **dict.fromkeys(("base", BASE_KEY, ROUNDED_KEY), lambda value: isinstance(value, str) and "\0" not in value),
}


def check_config(config: dict, path):
    """ValueError, which names the file `path`, for a config that no adapter can be made of."""
    config = {ROUNDED_KEY: "", **config}  # which older checkpoints lack
    wrong = next((name for name, fits in FIELDS.items() if not fits(config.get(name))), None)
    if wrong is not None:
        found = f"{config[wrong]!r:.100}" if wrong in config else "missing"
        raise ValueError(f"{path}: the LoRA's {wrong!r} is {found}, which is not read: take another checkpoint.")


def lora_entry(model: ModelC, specs=(), notes=None) -> NetworkEntry:
    """The record of a model's adapter; `specs`: what describes its tokens; notes: metadata of the files made of it."""
    weights, tokens = model.lora.weights, model.lora.embeddings
    config = {
        "filters": list(weights.filters) if weights is not None else [],
        "alpha": weights.alpha if weights is not None else 1.0,
        "tokens": list(specs),
        "indices": tokens.indices.tolist() if tokens is not None else [],
        "network": model.unet_config,
        "base": str(Path(model.unet_path).resolve()),
        **base_notes(heads_of_state(model.unet.state_dict())),
    }
    return NetworkEntry(KIND, config, notes or {}, partial(_write_beside, model, config, notes or {}))


def _write_beside(model: ModelC, config: dict, notes: dict, folder):
    state = {key: tensor.astype("float32").numpy() for key, tensor in model.lora.state_dict().items()}
    write_adapter(Path(folder) / LORA_FILE, NetworkEntry(KIND, config, notes), state, "the model")


def lora_of_state(entry: NetworkEntry, state: dict, source) -> LoraFile:
    """An adapter's state {its key: array}, the part `lora.` of a checkpoint, as a LoRA. WeightsMismatch if it is not it."""
    config = entry.config
    targets = find_targets(build_unfilled("stage_c", config["network"]), config["filters"]) if config["filters"] else []
    state = {key: np.asarray(value, np.float32) for key, value in state.items()}
    embeddings = state.pop(TOKENS, None)
    updates = from_positional(state, targets, source, config["alpha"])
    indices, tokens = np.asarray(config["indices"], np.int64), None
    if (embeddings is None) != (len(indices) == 0) or (embeddings is not None and len(embeddings) != len(indices)):
        report_mismatch(str(source), [], [], [f"{TOKENS}, expected {len(indices)} rows"])
    if embeddings is not None:
        tokens = TokenUpdate(indices, embeddings, tuple(config["tokens"]))
    described = {
        "config": json.dumps(config["network"]),
        **{k: config[k] for k in (BASE_KEY, ROUNDED_KEY) if k in config},
    }
    return LoraFile(updates, tokens, {**entry.notes, **described, FILTERS_KEY: json.dumps(config["filters"])})


def write_adapter(target, entry: NetworkEntry, state: dict, source, layout: str = POSITIONAL, dtype: str = "float32"):
    """Write an adapter's state as a LoRA file."""
    with errors_name(source):
        lora, network = lora_of_state(entry, state, source), build_unfilled("stage_c", entry.config["network"])
        write_lora(target, lora, network, layout, dtype=dtype)


def merged_prior(entry: NetworkEntry, state: dict, source, base: Optional[str] = None) -> tuple[NetworkEntry, dict]:
    """The prior that an adapter was trained on with its LoRA merged: entry and state {key: tensor}, float32.

    base: the file of that prior, where it has moved. ValueError if it is another one.
    """
    config = entry.config
    if not config["filters"]:
        raise ValueError(f"{source}: only tokens were trained, the prior is what it was. Take them with --lora.")
    path = Path(base or config["base"])
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}, the prior that the LoRA was trained on, does not exist: say where with --base."
        )
    with errors_name(source):
        lora = lora_of_state(entry, state, source)
    network = load_network(path, "stage_c", config=config["network"])
    if state_fingerprint(network.state_dict()) != config["base_fingerprint"]:
        raise ValueError(f"{path} is not the prior that {source} was trained on: give that one with --base.")
    with errors_name(source):
        merge_into(network, lora.updates)
    return NetworkEntry("stage_c", config["network"], entry.notes), network.state_dict()
