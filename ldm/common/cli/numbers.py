"""Numbers on the command line: argparse types with a range, which NaN and infinity are never in. Standard library only."""

import argparse
import math

SHOWN = 40  # characters of a value in an error


class Number:
    """An argparse type: `kind` from minimum to maximum, both included. argparse puts the flag before the message."""

    def __init__(self, kind, minimum, maximum):
        self.kind, self.minimum, self.maximum = kind, minimum, maximum

    def __call__(self, text: str):
        try:
            value = self.kind(text)
        except (ValueError, OverflowError):
            value = math.nan
        if not self.minimum <= value <= self.maximum:  # nothing is true of NaN
            shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
            raise argparse.ArgumentTypeError(f"{shown or repr(shown)}: must be {self.described()}")
        return value

    def described(self) -> str:
        what = "a whole number" if self.kind is int else "a number"
        return f"{what} from {self.minimum} to {self.maximum}"


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
