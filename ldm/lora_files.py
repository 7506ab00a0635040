"""LoRA files of the prior, with learned tokens where there are some: reading either layout, writing either."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np
import paddle

from ldm.lora_layouts import (
    NAMED,
    POSITIONAL,
    LowRankUpdate,
    detect_layout,
    from_named,
    from_positional,
    to_named,
    to_positional,
)
from ldm.networks.lora import DEFAULT_FILTERS, add_to_weight, find_targets, linear_targets
from ldm.weights.convert import check_dtype
from ldm.weights.files import TensorFile, write_tensors
from ldm.weights.plan import report_mismatch

EMBEDDINGS, INDICES = "embeddings.embeddings", "embeddings.indices"
FILTERS_KEY, TOKENS_KEY, LAYOUT_KEY = "filters", "tokens", "lora_layout"  # in the metadata


@dataclass(frozen=True)
class TokenUpdate:
    """What is added to rows of the token embedding: indices (n,), embeddings (n, width), and what describes the tokens.

    specs: as `ldm.learned_tokens` reads them; new tokens count on from the text encoder's vocabulary in their order.
    """

    indices: np.ndarray
    embeddings: np.ndarray
    specs: tuple = ()


@dataclass(frozen=True)
class LoraFile:
    """{key of the prior's weight: LowRankUpdate}, learned tokens or None, and the file's notes {name: text}."""

    updates: dict[str, LowRankUpdate]
    tokens: Optional[TokenUpdate] = None
    notes: dict = field(default_factory=dict)


def read_lora(path, network, filters=None, specs=None) -> LoraFile:
    """Read either layout for a prior `network`, which may be built lazily: only its shapes are used.

    filters, specs: what the layers and tokens were chosen by, where the file does not say (the release's files do not;
    its filter `.attn` is the default). WeightsMismatch, naming every key, for a LoRA of another network.
    """
    with TensorFile(path) as file:
        notes = dict(file.metadata)
        layout = detect_layout(file.keys(), path)
        tensors = {key: file.read_numpy(key) for key in file.keys()}
    if not tensors:
        raise ValueError(f"{path} is empty: it holds neither a LoRA nor learned tokens.")
    tokens = _take_tokens(tensors, specs or _listed(notes, TOKENS_KEY, path) or (), path)
    if specs and tokens is None:
        raise ValueError(f"{path} holds no learned tokens: it cannot be said what {' '.join(specs)} is.")
    tensors = {key: tensor.astype(np.float32) for key, tensor in tensors.items()}
    if layout == NAMED:
        return LoraFile(from_named(tensors, linear_targets(network), path), tokens, notes)
    stored = _listed(notes, FILTERS_KEY, path)
    filters = filters or (DEFAULT_FILTERS if stored is None else stored)
    targets = find_targets(network, filters) if tensors else []
    notes[FILTERS_KEY] = json.dumps(list(filters))
    return LoraFile(from_positional(tensors, targets, path), tokens, notes)


def write_lora(path, lora: LoraFile, network, layout: str = POSITIONAL, filters=None, dtype: str = "float32"):
    """Write a file in `layout`, POSITIONAL (the release's) or NAMED (other tools'); it appears only when complete.

    filters: the layers that positions count; default: what the notes say, else `.attn`.
    """
    check_dtype(dtype)
    filters = filters or _listed(lora.notes, FILTERS_KEY, "the LoRA") or DEFAULT_FILTERS
    if layout == POSITIONAL:
        tensors = to_positional(lora.updates, find_targets(network, filters) if lora.updates else [])
    else:
        tensors = to_named(lora.updates, linear_targets(network))
    entries = [(key, dtype, tensor.shape, _returning(tensor)) for key, tensor in tensors.items()]
    if lora.tokens is not None:
        entries.append((EMBEDDINGS, dtype, lora.tokens.embeddings.shape, _returning(lora.tokens.embeddings)))
        entries.append((INDICES, "int64", lora.tokens.indices.shape, _returning(lora.tokens.indices)))
    write_tensors(path, entries, _notes(lora, layout, filters))


def merge_into(network, updates: dict, scale: float = 1.0):
    """Add a LoRA's updates, times `scale`, to the weights of a prior."""
    state = network.state_dict()
    for key, update in updates.items():
        add_to_weight(state[key], paddle.to_tensor(update.delta) * scale)


def change_weights(updates: dict, scale: float = 1.0):
    """The function `change` of `ldm.weights.convert.convert_file` that merges a LoRA's updates, in float32."""

    def change(key, tensor):
        if key not in updates:
            return tensor
        return tensor.astype("float32") + paddle.to_tensor(updates[key].delta, place=paddle.CPUPlace()) * scale

    return change


def _notes(lora: LoraFile, layout: str, filters) -> dict:
    """The file's metadata: everything it is made of in words."""
    ranks, alphas = ({getattr(update, name) for update in lora.updates.values()} for name in ("rank", "alpha"))
    notes = {**lora.notes, "network": "stage_c", LAYOUT_KEY: layout, FILTERS_KEY: json.dumps(list(filters))}
    if lora.updates:
        notes["rank"] = str(max(ranks))
        # The positional layout has no other alpha than 1: the strength is in lora_up
        notes["alpha"] = "1" if layout == POSITIONAL else " ".join(str(alpha) for alpha in sorted(alphas))
    if lora.tokens is not None:
        notes[TOKENS_KEY] = json.dumps(list(lora.tokens.specs))
    return notes


def _take_tokens(tensors: dict, specs, path) -> Optional[TokenUpdate]:
    """The learned tokens, taken out of the tensors."""
    found = {key: tensors.pop(key) for key in list(tensors) if key.startswith("embeddings.")}
    if not found:
        return None
    count = found[INDICES].shape if INDICES in found else (0,)
    expected = {EMBEDDINGS: (*count, found[EMBEDDINGS].shape[-1] if EMBEDDINGS in found else 0), INDICES: count}
    shapes = {key: tuple(tensor.shape) for key, tensor in found.items()}
    misshapen = [f"{k} {shapes[k]}, expected {s}" for k, s in expected.items() if k in shapes and shapes[k] != s]
    report_mismatch(
        str(path), [k for k in expected if k not in shapes], [k for k in shapes if k not in expected], misshapen
    )
    return TokenUpdate(found[INDICES].astype(np.int64), found[EMBEDDINGS].astype(np.float32), tuple(specs))


def _listed(notes: dict, name: str, path):
    """A list in the metadata, or None."""
    if name not in notes:
        return None
    try:
        value = json.loads(notes[name])
    except json.JSONDecodeError as error:
        raise ValueError(f"{Path(path)}: the metadata's {name!r} is not JSON ({error}).") from error
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{path}: the metadata's {name!r} must be a list of texts, got {value!r}.")
    return tuple(value)


def _returning(value):
    return lambda: value
