"""LoRA files of the prior, with learned tokens where there are some: reading either layout, writing either."""

import json
import math
from dataclasses import dataclass, field
from typing import Optional

import numpy as np
import paddle

from ldm.adapters.layouts import (
    NAMED,
    POSITIONAL,
    LowRankUpdate,
    check_named,
    check_positional,
    detect_layout,
    from_named,
    from_positional,
    to_named,
    to_positional,
)
from ldm.adapters.lora import DEFAULT_FILTERS, add_to_weight, find_targets, linear_targets
from ldm.adapters.tokens import parse_spec
from ldm.common.json_files import parse_json
from ldm.weights.detect import note
from ldm.weights.files import TensorFile, write_tensors
from ldm.weights.finite import all_finite
from ldm.weights.plan import check_dtype, check_float, report_mismatch

TOKENS_PREFIX = "embeddings."
EMBEDDINGS, INDICES = "embeddings.embeddings", "embeddings.indices"
MOST_TOKENS, WIDEST_TOKEN, LARGEST_TOKEN = 1 << 17, 1 << 13, 1 << 20  # CLIP's text towers: 49408 tokens of width 1280
FILTERS_KEY, TOKENS_KEY, LAYOUT_KEY = "filters", "tokens", "lora_layout"  # in the metadata


@dataclass(frozen=True)
class TokenUpdate:
    """What is added to rows of the token embedding: indices (n,), embeddings (n, width), and what describes the tokens.

    specs: as `ldm.adapters.tokens` reads them; new tokens count on from the text encoder's vocabulary in their order.
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
        if not file.keys():
            raise ValueError(f"{path} is empty: it holds neither a LoRA nor learned tokens.")
        stored = _listed(file, FILTERS_KEY)
        if layout == POSITIONAL:
            filters = filters or (DEFAULT_FILTERS if stored is None else stored)
            notes[FILTERS_KEY] = json.dumps(list(filters))
        specs = specs or _checked_specs(file)
        shapes = {key: shape for key, shape in file.shapes.items() if not key.startswith(TOKENS_PREFIX)}
        targets = _targets(network, layout, filters, shapes, path)
        (check_positional if layout == POSITIONAL else check_named)(shapes, targets, path)
        tokens = read_tokens(file, specs)
        if specs and tokens is None:
            raise ValueError(f"{path} holds no learned tokens: it cannot be said what {' '.join(specs)} is.")
        check_float(file, [key for key in shapes if not key.endswith(".alpha")])
        tensors = {key: _finite(file, key) for key in shapes}
    from_layout = from_positional if layout == POSITIONAL else from_named
    return LoraFile(from_layout(tensors, targets, path), tokens, notes)


def _targets(network, layout: str, filters, shapes, path) -> list:
    """The layers that a file may move. ValueError, which names it, for filters of its own that match none."""
    if layout == NAMED:
        return linear_targets(network)
    try:
        return find_targets(network, filters) if shapes else []
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _finite(file: TensorFile, key: str) -> np.ndarray:
    """One tensor as float32. ValueError if it is not finite."""
    values = file.read_numpy(key).astype(np.float32)
    if not all_finite(values):
        raise ValueError(f"{file.path}: {key} holds NaN or infinity: take a LoRA from before its training failed.")
    return values


def write_lora(path, lora: LoraFile, network, layout: str = POSITIONAL, filters=None, dtype: str = "float32"):
    """Write a file in `layout`, POSITIONAL (the release's) or NAMED (other tools'); it appears only when complete.

    filters: the layers that positions count; default: what the notes say, else `.attn`.
    """
    check_dtype(dtype)
    filters = filters or json.loads(lora.notes.get(FILTERS_KEY, "null")) or DEFAULT_FILTERS
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
    """Add a LoRA's updates, times `scale`, to the weights of a prior. ValueError where the result is not finite."""
    _check_scale(scale)
    state = network.state_dict()
    for key, update in updates.items():
        add_to_weight(state[key], paddle.to_tensor(update.delta) * scale)
        if not bool(paddle.isfinite(state[key]).all()):
            dtype = str(state[key].dtype).rsplit(".", 1)[-1]
            raise ValueError(f"The LoRA makes {key} larger than {dtype} can hold: use a smaller scale than {scale:g}.")


def change_weights(updates: dict, scale: float = 1.0):
    """The function `change` of `ldm.weights.convert.convert_file` that merges a LoRA's updates, in float32."""
    _check_scale(scale)

    def change(key, tensor):
        if key not in updates:
            return tensor
        return tensor.astype("float32") + paddle.to_tensor(updates[key].delta, place=paddle.CPUPlace()) * scale

    return change


def _check_scale(scale: float):
    if not math.isfinite(scale):
        raise ValueError(f"A LoRA is merged times a finite number, got {scale}: 1 is the strength it was trained with.")


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


def read_tokens(file: TensorFile, specs) -> Optional[TokenUpdate]:
    """The learned tokens of a file, or None. ValueError for shapes, types or indices that cannot be."""
    shapes = {key: shape for key, shape in file.shapes.items() if key.startswith(TOKENS_PREFIX)}
    if not shapes:
        return None
    count, width = (*shapes.get(INDICES, ()), 0)[0], (*shapes.get(EMBEDDINGS, ()), 0, 0)[1]
    count, width = min(count, MOST_TOKENS), min(width, WIDEST_TOKEN)
    expected = {EMBEDDINGS: (count, width), INDICES: (count,)}
    misshapen = [f"{k} {shapes[k]}, expected {s}" for k, s in expected.items() if k in shapes and shapes[k] != s]
    report_mismatch(
        str(file.path), [k for k in expected if k not in shapes], [k for k in shapes if k not in expected], misshapen
    )
    check_float(file, [EMBEDDINGS])
    if file.dtypes[INDICES] not in ("I64", "I32"):
        raise ValueError(f"{file.path}: {INDICES} are {file.dtypes[INDICES]}, not integers: write the file again.")
    indices = file.read_numpy(INDICES).astype(np.int64)
    if count and (indices.min() < 0 or indices.max() >= LARGEST_TOKEN or len(np.unique(indices)) < count):
        raise ValueError(
            f"{file.path}: {INDICES} span {indices.min()} to {indices.max()}, {len(np.unique(indices))} of {count} "
            f"different; tokens are each named once, from 0 to {LARGEST_TOKEN - 1}."
        )
    return TokenUpdate(indices, _finite(file, EMBEDDINGS), tuple(specs))


def _checked_specs(file: TensorFile) -> tuple:
    """What the file's own notes say of its tokens."""
    specs = _listed(file, TOKENS_KEY) or ()
    for spec in specs:
        try:
            parse_spec(spec)
        except ValueError as error:
            raise ValueError(f"{file.path}: the metadata's {TOKENS_KEY!r}: {error}") from error
    return specs


def _listed(file: TensorFile, name: str):
    """A list of texts in the metadata, or None."""
    if name not in file.metadata:
        return None
    where = f"{file.path}: the metadata's {name!r}"
    value = parse_json(note(file, name), where, list, "write the file again")
    if not all(isinstance(item, str) and item.isprintable() for item in value):
        raise ValueError(f"{where} must be a list of texts, got {value!r:.200}.")
    return tuple(value)


def _returning(value):
    return lambda: value
