"""A conversion planned before a tensor is read, on keys, shapes and types: total both ways, all problems at once."""

from contextlib import contextmanager
from dataclasses import dataclass

import paddle

from ldm.weights.files import DTYPES, FLOAT_DTYPES, TensorFile
from ldm.weights.rules import RULES, Layout, Rule, find_rule

LAYOUT_KEY, PADDLE_LAYOUT = "layout", "paddle"
STORED_FLOATS = (*FLOAT_DTYPES, "float64")


class WeightsMismatch(ValueError):
    """A checkpoint does not fit the network that is filled from it."""


@dataclass(frozen=True)
class Move:
    """One tensor's way between the release's layout and ours."""

    release_key: str
    paddle_key: str
    rule: Rule
    release_shape: tuple


def plan_conversion(source_shapes: dict, target_shapes: dict, rules, origin: str) -> list[Move]:
    """Match a release's {key: shape} with our network's {key: shape}.

    Every source key is used or dropped by rule, every target is filled, every shape agrees: otherwise
    WeightsMismatch names `origin` and every missing, extra and misshapen key.
    """
    moves, extra, misshapen = [], [], []
    for key, shape in source_shapes.items():
        rule = find_rule(rules, key)
        if rule is not None and rule.layout is Layout.DROPPED:
            continue
        target = rule.to_paddle_key(key) if rule is not None else None
        if target not in target_shapes:
            extra.append(key)
            continue
        expected = rule.layout.shape_to_release(target_shapes[target])
        if tuple(shape) != expected:
            misshapen.append(f"{key} {tuple(shape)}, expected {expected}")
        moves.append(Move(key, target, rule, expected))
    filled = {move.paddle_key for move in moves}
    missing = [key for key in target_shapes if key not in filled]
    report_mismatch(origin, missing, extra, misshapen)
    return moves


def check_same_shapes(shapes: dict, targets: dict, origin: str):
    """WeightsMismatch unless {key: shape} of a file in our own layout is exactly the network's."""
    missing = [key for key in targets if key not in shapes]
    extra = [key for key in shapes if key not in targets]
    both = [key for key in targets if key in shapes]
    misshapen = [f"{k} {shapes[k]}, expected {targets[k]}" for k in both if shapes[k] != targets[k]]
    report_mismatch(origin, missing, extra, misshapen)


def report_mismatch(origin: str, missing, extra, misshapen, shown: int = 8):
    """Raise WeightsMismatch for whichever lists are not empty; each shows its first entries and its length."""
    problems = []
    for label, keys in (("missing", missing), ("unexpected", extra), ("misshapen", misshapen)):
        if keys:
            rest = f" and {len(keys) - shown} more" if len(keys) > shown else ""
            problems.append(f"{len(keys)} {label}: {', '.join(list(keys)[:shown])}{rest}")
    if problems:
        raise WeightsMismatch(
            f"{origin} does not fit this network: {'; '.join(problems)}. "
            "Check that the file is the right network and version."
        )


def release_key_of(rules, paddle_key: str) -> tuple[str, Rule]:
    """The inverse of a rule list: our key -> the release's key and the rule that maps it."""
    for rule in rules:
        if not paddle_key.endswith(rule.rename[1]) or rule.layout is Layout.DROPPED:
            continue
        candidate = rule.to_release_key(paddle_key)
        if rule.matches(candidate) and find_rule(rules, candidate) is rule:
            return candidate, rule
    raise WeightsMismatch(f"{paddle_key!r} is not a key of this network.")


def dropped_keys(rules, release_keys) -> list[str]:
    """Keys that exist only in the release (batch counters), to restore beside `release_keys`."""
    if not any(rule.layout is Layout.DROPPED for rule in rules):
        return []
    return [
        key.removesuffix("running_mean") + "num_batches_tracked"
        for key in release_keys
        if key.endswith(".running_mean")
    ]


@contextmanager
def errors_name(path):
    """A ValueError raised in the block begins with `path`, unless the message has it already."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        kind = WeightsMismatch if isinstance(error, WeightsMismatch) else ValueError
        raise kind(f"{path}: {error}") from error


def network_shapes(network: paddle.nn.Layer) -> dict:
    """{key: shape} of a network's state dict; works on one built inside `paddle.LazyGuard()`."""
    return {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def release_shapes(network: paddle.nn.Layer, name: str) -> dict:
    """{release key: release shape} of a network, batch counters included."""
    shapes = {}
    for key, shape in network_shapes(network).items():
        release_key, rule = release_key_of(RULES[name], key)
        shapes[release_key] = rule.layout.shape_to_release(shape)
    return shapes | {key: () for key in dropped_keys(RULES[name], shapes)}


def is_paddle_layout(file: TensorFile) -> bool:
    """Whether a file was written by us (metadata says so); a file that says nothing is taken as the official layout."""
    layout = file.metadata.get(LAYOUT_KEY, PADDLE_LAYOUT)
    if layout != PADDLE_LAYOUT:
        raise ValueError(
            f"{file.path}: the metadata's {LAYOUT_KEY!r} is {layout!r:.100}, known is {PADDLE_LAYOUT!r}; the official "
            "layout has none."
        )
    return LAYOUT_KEY in file.metadata


def plan_loading(file: TensorFile, network: paddle.nn.Layer, name: str) -> list:
    """[(our key, file's key, layout)] for a file of either layout; WeightsMismatch lists every problem."""
    targets = network_shapes(network)
    if is_paddle_layout(file):
        check_same_shapes(file.shapes, targets, str(file.path))
        plan = [(key, key, Layout.SAME) for key in targets]
    else:
        moves = plan_conversion(file.shapes, targets, RULES[name], str(file.path))
        plan = [(move.paddle_key, move.release_key, move.rule.layout) for move in moves]
    check_float(file, [theirs for _, theirs, _ in plan])
    return plan


def check_float(file: TensorFile, keys):
    """WeightsMismatch if any of these tensors is stored in a type that weights do not have."""
    others = [f"{key} ({file.dtypes[key]})" for key in keys if DTYPES.get(file.dtypes[key]) not in STORED_FLOATS]
    if others:
        rest = f" and {len(others) - 8} more" if len(others) > 8 else ""
        raise WeightsMismatch(
            f"{file.path} has {len(others)} tensors of a type that weights do not have here: {', '.join(others[:8])}{rest}. "
            f"Known are {', '.join(STORED_FLOATS)}: convert it with the program that wrote it."
        )


def check_dtype(dtype: str):
    """ValueError unless `dtype` is one that weights can have."""
    if dtype not in FLOAT_DTYPES:
        raise ValueError(f"Unknown dtype {dtype!r}: choose one of {', '.join(FLOAT_DTYPES)}.")
