"""What decides an image: one object that checks itself; the command line and the PNG's metadata write and read it.

`GenerationSettings` are its numbers, `GenerationRequest` is all of it. An `option` is a flag of `inference.py` and a key of the
metadata; a mode brings options of its own (`ldm/modes`). Standard library only: a wrong flag is known before Paddle is there.
"""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real

from ldm.common.cli import numbers
from ldm.modes import MODES, modes_of
from ldm.modes.mode import Mode, add_options, given_options, option
from ldm.sizes import check_size

MOST_STEPS = numbers.steps.range.high  # the flags' own; memory is forecast besides
MOST_IMAGES = numbers.batch.range.high
MOST_PROMPTS = numbers.count.range.high  # of an evaluation
MOST_FILES = 10_000_000  # of one run
LARGEST_GUIDANCE = numbers.guidance.range.high  # either way: images are grey or burnt at a tenth of it
LARGEST_SEED = 2**63 - 1  # what other programs, and most JSON readers, keep
NATIVE = "pixels, at least 256; default: what the prior was trained for, 1024 in the release"


@dataclass(frozen=True)
class GenerationSettings:
    """Sizes in pixels, seed of the first image, steps and guidance of prior and decoder."""

    height: int = option(1024, numbers.pixels, NATIVE)
    width: int = option(1024, numbers.pixels, NATIVE)
    seed: int = option(0, numbers.seed, "the same seed gives the same image")
    steps: int = option(20, numbers.steps, "steps of the prior")
    cfg: float = option(4.0, numbers.guidance, "guidance of the prior; 1 switches it off")
    decoder_steps: int = option(10, numbers.steps, "steps of the decoder")
    decoder_cfg: float = option(1.1, numbers.guidance, "guidance of the decoder; 1 switches it off")

    def check(self, batch_size: int = 1):
        """ValueError, which names value and bound, for anything that cannot be honoured. Memory is another question."""
        check_size(self.height, self.width)
        check_count("batch_size", batch_size, MOST_IMAGES)
        for name in ("steps", "decoder_steps"):
            check_count(name, getattr(self, name), MOST_STEPS)
        for name in ("cfg", "decoder_cfg"):
            check_guidance(name, getattr(self, name))
        check_image_seed("seed", self.seed, batch_size)

    def as_dict(self) -> dict:
        """{name: value} of the numbers."""
        return {item.name: getattr(self, item.name) for item in fields(GenerationSettings)}

    def request(self, captions, batch_size: int = 1, **more) -> "GenerationRequest":
        """A request with these settings."""
        return GenerationRequest(**self.as_dict(), captions=tuple(captions), batch_size=batch_size, **more)


@dataclass(frozen=True, kw_only=True)
class GenerationRequest(GenerationSettings):
    """Everything besides the weights that decides the images of one run.

    captions: texts, each for `batch_size` images, or lists of `batch_size` texts; image i of one has seed + i.
    loras: (file, strength), merged in this order. modes: what is given besides text.
    """

    captions: tuple = ()
    batch_size: int = 1
    loras: tuple = ()
    modes: tuple[Mode, ...] = ()

    def check(self, modes: bool = True):
        """ValueError, which names value and bound, for anything that cannot be honoured together; modes: theirs too."""
        super().check(self.batch_size)
        if not self.captions:
            raise ValueError("captions is empty: give at least one text.")
        check_count("batch_size times captions", self.batch_size * len(self.captions), MOST_FILES)
        for mode in self.modes if modes else ():
            mode.check(self)

    # Metadata ---------------------------------------------------------------------------------------------------

    def record(self, caption: str, offset: int = 0) -> dict:
        """What image number `offset` of a caption is made from, as JSON holds it; `from_record` reads it."""
        modes = {"modes": {mode.name: mode.options() for mode in self.modes}} if self.modes else {}
        return {"caption": caption, **self.as_dict(), "seed": self.seed + offset, **modes}

    @classmethod
    def from_record(cls, record: dict) -> "GenerationRequest":
        """The request that makes an image of ours again, by the same weights; ValueError for settings of another kind."""
        known = {mode.name: mode for mode in MODES}
        try:
            values = {item.name: record[item.name] for item in fields(GenerationSettings)}
            modes = tuple(known[name](**options) for name, options in record.get("modes", {}).items())
            request = cls(**values, captions=(record["caption"],), modes=modes)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"These are no settings of an image that this version can make ({error}).") from error
        request.check()
        return request


# Command line ---------------------------------------------------------------------------------------------------


def add_request_flags(parser):
    """A flag for every option of a request; without --height and --width they are what the prior was trained for."""
    add_options(parser, GenerationSettings, height=None, width=None)
    for mode in MODES:
        add_options(parser, mode)


def request_of_flags(args, native: int, **more) -> GenerationRequest:
    """The request of parsed arguments; `native`: the side of an image that is not stated."""
    settings = given_options(GenerationSettings, args)
    sizes = {side: native if settings[side] is None else settings[side] for side in ("height", "width")}
    return GenerationRequest(**{**settings, **sizes}, modes=modes_of(vars(args)), **more)


# Limits, for callers who come by no command line too ---------------------------------------------------------------


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
