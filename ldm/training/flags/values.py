"""What values a flag takes: ranges of numbers, declared beside the flag, and texts that must not be empty."""

from dataclasses import field, fields
from typing import get_args, get_type_hints

from ldm.common.cli.numbers import SHOWN, Range, share

SHARE = share.range
STEPS = Range(1, 10**9)  # or samples, or pixels that are checked further: no run is longer
EVERY = Range(0, 10**9)  # so many steps; 0: never
SIDE = Range(1, 4096)  # pixels of a training image: four times the release's
NEAR_ONE = 0.999999  # a factor much nearer to 1 is 1 in float32


def number(default, allowed: Range, text: str):
    """A dataclass field for a flag that takes the numbers of a range, or a default such as None outside it."""
    return field(default=default, metadata={"help": text, "range": allowed})


def check_values(arguments, inherited=None, unchecked=()):
    """ValueError for the first number of a dataclass outside its field's range and the first text that is empty.

    inherited: ranges {name: Range} of fields that are declared elsewhere; unchecked: names of fields that have none. Any
    other numeric field without a range is our mistake: KeyError.
    """
    ranges, hints = ranges_of(type(arguments), inherited), get_type_hints(type(arguments))
    for item in fields(arguments):
        value = getattr(arguments, item.name)
        if item.name in unchecked:
            continue
        if is_number(hints[item.name]):
            check_number(item, value, ranges[item.name])
        elif str in (hints[item.name], *_nested(hints[item.name])) and value is not None:
            check_text(item, value)


def check_number(item, value, allowed: Range):
    """ValueError with flag, value and range, unless the value is None, where that is the default, or in the range."""
    if value is None and item.default is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value not in allowed:
        raise ValueError(f"--{item.name} must be {allowed}, got {shortened(value)}.")


def check_text(item, value):
    """ValueError for a text, or a text of a list, that is empty though the flag's default is not."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    if item.default == "" or item.metadata.get("may_be_empty"):
        return
    if not texts or any(isinstance(text, str) and not text.strip() for text in texts):
        raise ValueError(f"--{item.name} is empty: give a value, or leave the flag out.")


def ranges_of(cls, inherited=None) -> dict:
    """{name: Range} of the numeric fields of a dataclass; `inherited` stands in where a field has none of its own."""
    own = {item.name: item.metadata["range"] for item in fields(cls) if "range" in item.metadata}
    return {**(inherited or {}), **own}


def is_number(hint) -> bool:
    """Whether a field's type is int or float, or one of them or None."""
    return bool({int, float} & {hint, *get_args(hint)})


def _nested(hint) -> set:
    """The types inside a type: str of Optional[list[str]]."""
    return {inner for part in get_args(hint) for inner in (part, *_nested(part))}


def shortened(value) -> str:
    """A value for a message of one line."""
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"
