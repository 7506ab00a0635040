"""What the numbers of a generation may be, for callers who come by no command line. Standard library only."""

import math
from numbers import Integral, Real

from ldm.common.cli import numbers

MOST_STEPS = numbers.steps.range.high  # the flags' own; memory is forecast besides
MOST_IMAGES = numbers.batch.range.high
MOST_PROMPTS = numbers.count.range.high  # of an evaluation
MOST_FILES = 10_000_000  # of one run
LARGEST_GUIDANCE = numbers.guidance.range.high  # either way: images are grey or burnt at a tenth of it
LARGEST_SEED = 2**63 - 1  # what other programs, and most JSON readers, keep


def check_count(name: str, value, most: int) -> int:
    """An integer from 1 to `most`; ValueError, which begins with the name, for anything else."""
    if not _integral(value):
        raise ValueError(f"{name} must be an integer from 1 to {most}, got {value!r}.")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    if value > most:
        raise ValueError(f"{name} must be at most {most}, got {value}.")
    return int(value)


def check_guidance(name: str, value):
    """A guidance scale, or a pair of them: ValueError unless each is a number within plus and minus LARGEST_GUIDANCE."""
    for scale in value if isinstance(value, (tuple, list)) else [value]:
        if isinstance(scale, bool) or not isinstance(scale, Real) or not math.isfinite(scale):
            raise ValueError(f"{name} must be a finite number such as 4.0, got {value!r}; 1 switches guidance off.")
        if abs(scale) > LARGEST_GUIDANCE:
            raise ValueError(f"{name} must be at most {LARGEST_GUIDANCE:g} either way, got {value!r}; 4 is usual.")
    if isinstance(value, (tuple, list)) and len(value) != 2:
        raise ValueError(f"{name} must be a number or (at t = 1, at t = 0), got {value!r}.")


def check_image_seed(name: str, value, count: int = 1):
    """The seed of the first of `count` images, each having one more than the last; ValueError out of range."""
    if not _integral(value):
        raise ValueError(f"{name} must be an integer from 0 to {LARGEST_SEED}, got {value!r}.")
    if value < 0:
        raise ValueError(f"{name} must not be negative, got {value}.")
    if value + count - 1 > LARGEST_SEED:
        raise ValueError(f"{name} must be at most {LARGEST_SEED - count + 1}, got {value}.")


def _integral(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
