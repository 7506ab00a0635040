"""Constructor arguments that a file brings along: names, types and bounds, checked before a network is built of them.

Names and defaults are the constructors' own; what a value may be is one table per network. The bounds lie
beyond any network that is trained: within them no tensor's size overflows, and no network takes long to build without
its weights. How large a network may be is the file's to say: its tensors must be as many as the layers described.
"""

import inspect
import re
from dataclasses import dataclass
from typing import Callable

LEVELS = 16
MOST_LAYERS = 10_000  # the largest network has about 200


@dataclass(frozen=True)
class Kind:
    """A type of value: its description, and a test for it."""

    words: str
    fits: Callable


def integer(low: int, high: int) -> Kind:
    return Kind(f"an integer from {low} to {high}", lambda v: type(v) is int and low <= v <= high)


def number(low: float, high: float) -> Kind:
    return Kind(f"a number from {low:g} to {high:g}", lambda v: type(v) in (int, float) and low <= v <= high)


def text(pattern: str, words: str) -> Kind:
    return Kind(words, lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None)


def one_of(*names: str) -> Kind:
    return Kind(f"one of {', '.join(names)}", lambda v: isinstance(v, str) and v in names)


def listed(item: Kind, least: int, most: int) -> Kind:
    def fits(value):
        return isinstance(value, (list, tuple)) and least <= len(value) <= most and all(map(item.fits, value))

    return Kind(f"a list of {least} to {most}, each {item.words}", fits)


def either(first: Kind, second: Kind) -> Kind:
    return Kind(f"{first.words} or {second.words}", lambda v: first.fits(v) or second.fits(v))


def fields(**kinds: Kind) -> Kind:
    def fits(value):
        return isinstance(value, dict) and value.keys() == kinds.keys() and all(kinds[k].fits(value[k]) for k in kinds)

    return Kind(f"an object of {', '.join(f'{name} ({kind.words})' for name, kind in kinds.items())}", fits)


FLAG = Kind("true or false", lambda v: isinstance(v, bool))
NOTHING = Kind("null", lambda v: v is None)
WIDTH, LAYERS, RUNS = integer(1, 1 << 16), integer(1, 1000), integer(1, 100)


def per_level(item: Kind) -> Kind:
    """One value for all levels or one for each."""
    return either(item, listed(item, 1, LEVELS))


def down_and_up(item: Kind) -> Kind:
    return listed(listed(item, 1, LEVELS), 2, 2)


UNET = {
    **dict.fromkeys(("c_in", "c_out", "c_cond"), WIDTH),
    "c_r": integer(4, 4096),
    "patch_size": integer(1, 16),
    "c_hidden": listed(WIDTH, 1, LEVELS),
    "nhead": per_level(integer(-1, 1024)),
    "blocks": down_and_up(LAYERS),
    "block_repeat": either(down_and_up(RUNS), NOTHING),
    "level_config": per_level(text("[CTAF]{1,16}", "1 to 16 of the letters C, T, A, F")),
    "c_clip_seq": integer(1, 256),
    "kernel_size": integer(1, 31),
    "dropout": per_level(number(0, 1)),
    "self_attn": per_level(FLAG),
    "t_conds": listed(text("[a-z][a-z0-9_]{0,31}", "a name in lower case"), 0, 8),
    "prediction_type": one_of("epsilon", "v_prediction"),
}
STAGE = fields(
    fused=FLAG, expand=integer(1, 64), stride=integer(1, 32), c_in=WIDTH, c_out=WIDTH, layers=LAYERS
)  # fmt: skip
KINDS = {
    "stage_c": {
        **UNET,
        **dict.fromkeys(("c_clip_text", "c_clip_text_pooled", "c_clip_img"), WIDTH),
        "switch_level": listed(FLAG, 0, LEVELS),
    },
    "stage_b": {**UNET, **dict.fromkeys(("c_clip", "c_effnet", "c_pixels"), WIDTH), "sees_preview": FLAG},
    "stage_a": {
        "levels": integer(1, 8),
        "bottleneck_blocks": integer(0, 1000),
        "c_hidden": WIDTH,
        "c_latent": WIDTH,
        "codebook_size": integer(1, 1 << 24),
        "scale_factor": number(1e-6, 1e6),
    },
    "effnet": {"c_latent": WIDTH, "channels": WIDTH, "stages": listed(STAGE, 1, 64)},
    "previewer": {"c_in": WIDTH, "c_hidden": integer(4, 1 << 16), "c_out": WIDTH},
}


def check_arguments(constructor, kind: str, config, where: str, tensors=None):
    """ValueError, which begins with `where`, for a `config` that no `kind` should be built from.

    constructor: the network's class. tensors: how many the file holds that the config is of, where there is one.
    """
    if not isinstance(config, dict):
        raise ValueError(f"{where} is {config!r:.100}, not an object of constructor arguments.")
    known = inspect.signature(constructor).parameters
    problems = [f"{name!r:.60} is no argument of a {kind}" for name in config if name not in known]
    problems += [
        f"{name} is {value!r:.100}, expected {KINDS[kind][name].words}"
        for name, value in config.items()
        if name in known and not KINDS[kind][name].fits(value)
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(f"{where}: {'; '.join(problems[:5])}{more}.")
    defaults = {name: parameter.default for name, parameter in known.items() if name not in config}
    layers = described_layers({**defaults, **config})
    if layers > (MOST_LAYERS if tensors is None else min(tensors, MOST_LAYERS)):
        bound = f"at most {MOST_LAYERS} are built" if layers > MOST_LAYERS else f"the file has {tensors} tensors"
        raise ValueError(f"{where} describes {layers} layers, and {bound}: it is of another network.")


def described_layers(config: dict) -> int:
    """How many layers with tensors of their own complete arguments describe at least."""
    if "blocks" not in config:
        stages = config.get("stages", ())
        return config.get("bottleneck_blocks", 0) + sum(stage["layers"] for stage in stages if isinstance(stage, dict))
    levels, layouts = len(config["c_hidden"]), config["level_config"]
    layouts = [layouts] * levels if isinstance(layouts, str) else layouts
    down, up = config["blocks"]
    units = sum(len(layout) * (d + u) for layout, d, u in zip(layouts, down, reversed(up)))
    return units + sum(runs - 1 for way in config["block_repeat"] or () for runs in way)
