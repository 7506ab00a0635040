"""Numbers on the command line: ranges, never with NaN or infinity, and argparse types. Standard library only."""

import argparse
import math
from dataclasses import dataclass

SHOWN = 40  # characters of a value in an error


@dataclass(frozen=True)
class Range:
    """Numbers from `low` (`above`: more than it) to `high`, and those that mean something else, such as -1 or 0 for none."""

    low: float
    high: float
    above: bool = False
    also: tuple = ()

    def __contains__(self, value):
        return value in self.also or (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self):
        text = f"{'above' if self.above else 'at least'} {_written(self.low)} and at most {_written(self.high)}"
        return text + "".join(f", or {_written(value)}" for value in self.also)


def _written(number) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


class Number:
    """An argparse type: `kind` from low to high, both included. argparse puts the flag before the message."""

    def __init__(self, kind, low, high):
        self.kind, self.range = kind, Range(low, high)

    def __call__(self, text: str):
        try:
            value = self.kind(text)
        except (ValueError, OverflowError):
            value = math.nan
        if value not in self.range:
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
            raise argparse.ArgumentTypeError(f"{shown or repr(shown)}: must be {self.described()}")
        return value

    def described(self) -> str:
        what = "a whole number" if self.kind is int else "a number"
        return f"{what} from {self.range.low} to {self.range.high}"


count = Number(int, 1, 1_000_000)  # pictures, prompts
batch = Number(int, 1, 4096)  # images at once
steps = Number(int, 1, 10_000)  # of a sampler; the release takes 20
pixels = Number(int, 1, 65_536)  # of a side
workers = Number(int, 1, 1024)  # processes
tokens = Number(int, 1, 4096)  # of a caption
seed = Number(int, 0, 2**62)  # image i adds i
guidance = Number(float, -1000.0, 1000.0)  # 1 switches it off, 0 forgets the caption
strength = Number(float, -1000.0, 1000.0)  # of a LoRA; negative ones take away what it adds
share = Number(float, 0.0, 1.0)
