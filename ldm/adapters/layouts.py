"""The two layouts of LoRA files, as functions between their tensors and {key of the weight: LowRankUpdate}.

Positional, the release's: `weights.N.lora_down` (r, c_in) and `weights.N.lora_up` (c_out, r), N counting the layers
that the filters match; the scale is 1 / r. Named, what other tools read: `lora_prior_unet_<layer>.lora_down.weight`,
`.lora_up.weight` and `.alpha`, with query, key and value of an attention apart.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ldm.adapters.lora import Target
from ldm.weights.plan import release_key_of, report_mismatch
from ldm.weights.rules import RULES, Layout

POSITIONAL, NAMED = "positional", "named"
WRITTEN_PREFIX, PREFIXES = "lora_prior_unet_", ("lora_prior_unet_", "lora_unet_")
LEAVES = {".lora_down.weight": "down", ".lora_up.weight": "up", ".alpha": "alpha"}
PARTS = ("to_q", "to_k", "to_v")
LARGEST_RANK = 1024  # or the layer's larger side: behind that a LoRA is larger than what it moves


@dataclass(frozen=True)
class LowRankUpdate:
    """What a LoRA adds to one weight: down (r, c_in), up (c_out, r), float32; the scale is alpha / r."""

    down: np.ndarray
    up: np.ndarray
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @cached_property
    def delta(self) -> np.ndarray:
        """(c_in, c_out), as our Linears store their weights."""
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused where it is used or written
            return np.ascontiguousarray((self.up @ self.down).T * np.float32(self.alpha / self.rank))


def detect_layout(keys, origin) -> str:
    """POSITIONAL or NAMED; ValueError for what is no LoRA of the prior."""
    keys = [key for key in keys if not key.startswith("embeddings.")]
    if all(re.fullmatch(r"weights\.\d+\.lora_(down|up)", key) for key in keys):
        return POSITIONAL
    if any(key.startswith(PREFIXES) for key in keys):
        return NAMED
    raise ValueError(
        f"{origin} is no LoRA of Stable Cascade's prior: its keys ({', '.join(keys[:3])}, ...) are neither "
        f"weights.N.lora_down as in the release nor {WRITTEN_PREFIX}...lora_down.weight."
    )


# ---- positional


def check_positional(shapes: dict, targets: list[Target], origin):
    """WeightsMismatch names every key of {key: shape} that is missing, unexpected or misshapen."""
    expected = {}
    for index, target in enumerate(targets):
        down, up = (f"weights.{index}.lora_{name}" for name in ("down", "up"))
        rank = _rank(
            target, next((shapes[k][axis] for k, axis in ((down, 0), (up, 1)) if len(shapes.get(k, ())) > 1), 1)
        )
        c_in, c_out = target.weight.shape
        expected |= {down: (rank, c_in), up: (c_out, rank)}
    _compare(shapes, expected, origin)


def from_positional(tensors: dict, targets: list[Target], origin, alpha: float = 1.0) -> dict:
    """`targets`: what `find_targets` says for the file's filters. Errors as of `check_positional`."""
    check_positional({key: tuple(tensor.shape) for key, tensor in tensors.items()}, targets, origin)
    return {
        target.key: LowRankUpdate(tensors[f"weights.{index}.lora_down"], tensors[f"weights.{index}.lora_up"], alpha)
        for index, target in enumerate(targets)
    }


def to_positional(updates: dict, targets: list[Target]) -> dict:
    """Every target gets the largest rank and alpha 1, which the release assumes: what differs goes into `lora_up`.

    ValueError for updates of weights that are not among the targets.
    """
    keys = [target.key for target in targets]
    left_over = [key for key in updates if key not in keys]
    if left_over:
        raise ValueError(
            f"{len(left_over)} weights that this LoRA moves ({left_over[0]}, ...) are not matched by the filters, whose "
            "order the positional layout follows: give the filters that it was trained with."
        )
    rank, tensors = max((update.rank for update in updates.values()), default=1), {}
    for index, target in enumerate(targets):
        c_in, c_out = target.weight.shape
        down, up = np.zeros((rank, c_in), np.float32), np.zeros((c_out, rank), np.float32)
        if target.key in updates:
            update = updates[target.key]
            down[: update.rank] = update.down
            up[:, : update.rank] = update.up * np.float32(update.alpha * rank / update.rank)
        tensors |= {f"weights.{index}.lora_down": down, f"weights.{index}.lora_up": up}
    return tensors


# ---- named


def check_named(shapes: dict, targets: list[Target], origin) -> dict:
    """{key of the weight: {part of a fused projection or None: {down, up or alpha: key}}} of a file's {key: shape}.

    `targets`: what the file may move, all Linears of the network. WeightsMismatch names every key that is wrong.
    """
    layers = {stem: (target, part) for target in targets for stem, part in _stems(target)}
    found, expected = {}, {}
    for key in shapes:
        stem, leaf = _split(key)
        if stem in layers and leaf is not None:
            target, part = layers[stem]
            found.setdefault(target.key, {}).setdefault(part, {}).setdefault(leaf, key)  # a second name is unexpected
    for target in targets:
        for part, pair in found.get(target.key, {}).items():
            expected |= _expected_shapes(target, part, pair, shapes)
    _compare(shapes, expected, origin)
    return found


def from_named(tensors: dict, targets: list[Target], origin) -> dict:
    """`targets` and errors as of `check_named`. A missing alpha means r, scale 1."""
    found, updates = check_named({key: tuple(t.shape) for key, t in tensors.items()}, targets, origin), {}
    for target in targets:
        if target.key in found:
            parts = {
                part: _update({leaf: tensors[key] for leaf, key in pair.items()})
                for part, pair in found[target.key].items()
            }
            updates[target.key] = _fused(parts, target.weight.shape[1]) if target.fused else parts[None]
    return updates


def to_named(updates: dict, targets: list[Target]) -> dict:
    """Query, key and value share the `down` of their fused projection and get a third of its `up` each."""
    tensors, by_key = {}, {target.key: target for target in targets}
    for key, update in updates.items():
        target, trailing = by_key[key], _trailing(key)
        names = [name for name, _ in _stems(target)[: len(PARTS) if target.fused else 1]]
        for stem, up in zip(names, np.split(update.up, len(names))):
            tensors |= {
                f"{WRITTEN_PREFIX}{stem}.lora_down.weight": update.down.reshape(update.down.shape + trailing),
                f"{WRITTEN_PREFIX}{stem}.lora_up.weight": up.reshape(up.shape + trailing),
                f"{WRITTEN_PREFIX}{stem}.alpha": np.asarray(update.alpha, np.float32),
            }
    return tensors


def _stems(target: Target) -> list:
    """[(name, part)]: how files name a layer, the name we write first; part counts query, key and value."""
    layer = target.key.removesuffix(".weight").removesuffix(".in_proj_weight")
    short = layer.removesuffix(".attn")  # diffusers' networks lack this level
    if target.fused:
        names = [(f"{start}.{part}", index) for start in (layer, short) for index, part in enumerate(PARTS)]
    else:
        names = [(layer, None)]
        if layer.endswith(".attn.out_proj"):
            names.append((f"{layer.removesuffix('.attn.out_proj')}.to_out.0", None))
    return [(name.replace(".", "_"), part) for name, part in names]


def _split(key: str) -> tuple:
    """(layer's name, what of it); the latter None for an unknown one."""
    prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")
    suffix = next((suffix for suffix in LEAVES if key.endswith(suffix)), "")
    return key.removeprefix(prefix).removesuffix(suffix), LEAVES.get(suffix) if prefix else None


def _trailing(key: str) -> tuple:
    """(1, 1) for our Linears that are 1x1 convolutions elsewhere."""
    return (1, 1) if release_key_of(RULES["stage_c"], key)[1].layout is Layout.CONV1X1 else ()


def _expected_shapes(target: Target, part, pair: dict, shapes: dict) -> dict:
    """{key: shape} of one down, up and alpha, the rank as in whichever is there."""
    some_key = next(iter(pair.values()))
    stem = some_key[: -len(next(suffix for suffix in LEAVES if some_key.endswith(suffix)))]
    down, up, alpha = (stem + suffix for suffix in LEAVES)
    c_in, c_out = target.weight.shape
    c_out = c_out // len(PARTS) if part is not None else c_out
    trailing = _trailing(target.key)
    rank = next((shapes[key][axis] for key, axis in ((down, 0), (up, 1)) if len(shapes.get(key, ())) > 1), 1)
    rank = _rank(target, rank)
    expected = {down: (rank, c_in, *trailing), up: (c_out, rank, *trailing)}
    return expected | ({alpha: ()} if alpha in shapes else {})


def _rank(target: Target, stored: int) -> int:
    """The rank that the shapes of a layer's pair must have: the stored one, in bounds."""
    return min(max(stored, 1), max(*target.weight.shape, LARGEST_RANK))


def _update(pair: dict) -> LowRankUpdate:
    down, up = (pair[leaf].reshape(pair[leaf].shape[:2]) for leaf in ("down", "up"))
    return LowRankUpdate(down, up, float(pair["alpha"]) if "alpha" in pair else float(down.shape[0]))


def _fused(parts: dict, c_out: int) -> LowRankUpdate:
    """Query, key and value, or some of them, as one update of their fused projection."""
    first = next(iter(parts.values()))
    alike = all(u.alpha == first.alpha and np.array_equal(u.down, first.down) for u in parts.values())
    if len(parts) == len(PARTS) and alike:
        return LowRankUpdate(first.down, np.concatenate([parts[index].up for index in range(len(PARTS))]), first.alpha)
    down = np.concatenate([update.down for update in parts.values()])
    up, column, third = np.zeros((c_out, len(down)), np.float32), 0, c_out // len(PARTS)
    for index, update in parts.items():
        columns = slice(column, column + update.rank)
        up[index * third : (index + 1) * third, columns] = update.up * np.float32(update.alpha / update.rank)
        column += update.rank
    return LowRankUpdate(down, up, float(len(down)))


def _compare(shapes: dict, expected: dict, origin):
    """WeightsMismatch unless a file's {key: shape} are those expected."""
    missing = [key for key in expected if key not in shapes]
    extra = [key for key in shapes if key not in expected]
    both = [key for key in expected if key in shapes]
    misshapen = [f"{key} {shapes[key]}, expected {expected[key]}" for key in both if shapes[key] != expected[key]]
    report_mismatch(str(origin), missing, extra, misshapen)
