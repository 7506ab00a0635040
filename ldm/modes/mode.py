"""What a mode is: options that a user gives beside the text, and what they change on the way to the image.

A mode is one file here and one entry of MODES (ldm/modes/__init__.py). Its options become flags of inference.py and
entries of the PNG's metadata by themselves.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:  # the options of modes are flags, which are known before Paddle is imported
    import numpy
    import paddle

    from ldm.conditions import EncodedCaptions
    from ldm.diffusion.sampling import SamplingSettings
    from ldm.frozen import Frozen


@dataclass(frozen=True)
class SamplingInputs:
    """What a stage samples from besides noise and settings.

    conditions, unconditional: the network's, by name; x_init (B, C, h, w): the noised latent to start from, at time
    t_start, instead of noise.
    """

    conditions: dict
    unconditional: dict
    x_init: paddle.Tensor | None = None
    t_start: float = 1.0

    def changed(self, **changes) -> SamplingInputs:
        return replace(self, **changes)


@dataclass(frozen=True)
class Context:
    """What a mode may look at: the request, its captions as the text tower saw them, the frozen networks, the stage."""

    request: Any
    captions: EncodedCaptions
    frozen: Frozen
    stage: Any  # ModelC or ModelB, whichever is at work
    sampling: SamplingSettings  # of that stage: its schedule is the one to noise a latent by


@dataclass(frozen=True)
class Mode:
    """A way to make an image. Subclasses are dataclasses of `option`s and override what they change.

    Paddle is imported inside the methods that need it.
    """

    name: ClassVar[str] = ""  # in the metadata

    def __init_subclass__(cls):
        if not cls.name:
            raise TypeError(f"The mode {cls.__name__} has no name, by which the metadata know it.")

    @classmethod
    def is_asked_for(cls, options: dict) -> bool:
        """Whether any option differs from its default, which stands for "no such mode"."""
        return any(options[item.name] != item.default for item in options_of(cls))

    def options(self) -> dict:
        """For the metadata; the constructor takes them back."""
        return asdict(self)

    def check(self, request):
        """ValueError, which names the option and the remedy, for what cannot be honoured in this request."""

    def sizes(self, sizes):
        """`ldm.generation.work.Sizes` of the request -> those that the forecasts of memory and disk ask about."""
        return sizes

    def prior_inputs(self, inputs: SamplingInputs, context: Context) -> SamplingInputs:
        """What the prior samples from."""
        return inputs

    def decoder_inputs(self, inputs: SamplingInputs, context: Context) -> SamplingInputs:
        """What the decoder samples from."""
        return inputs

    def finished(self, images: numpy.ndarray, context: Context) -> numpy.ndarray:
        """The images (B, height, width, 3), uint8, before they are handed out."""
        return images


# Options: fields of dataclasses that are flags as well ------------------------------------------------------------


def option(default, kind, text: str, **argparse_options):
    """A field that `add_options` makes a flag of: `kind` as argparse's type, `text` as its help."""
    return field(default=default, metadata={"type": kind, "help": text, **argparse_options})


def options_of(cls) -> list:
    """The fields of a dataclass that are options."""
    if "__dataclass_params__" not in vars(cls):
        raise TypeError(f"{cls.__name__} is no dataclass: its options need @dataclass(frozen=True) above it.")
    return [item for item in fields(cls) if "type" in item.metadata]


def add_options(parser, cls, **defaults):
    """A flag --NAME for every option of a dataclass; `defaults`: of flags where it differs from the field's."""
    for item in options_of(cls):
        default = defaults.get(item.name, None if item.default is MISSING else item.default)
        parser.add_argument(f"--{item.name}", default=default, **item.metadata)


def given_options(cls, args) -> dict:
    """{name: value} of a dataclass's options, from parsed arguments."""
    return {item.name: getattr(args, item.name) for item in options_of(cls)}
