"""What the harness works with: a kind of input, one damage to it, and what a program made of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Damage:
    """A file's new content, what was done to it, and whether only a refusal will do, or the undamaged result."""

    content: bytes
    note: str
    must_refuse: bool = False


@dataclass(frozen=True)
class Input:
    """One input: the folder that a program reads, what was damaged in it, and arguments that come on top.

    file: the damaged file, None where flags are damaged; before, after: its content.
    """

    folder: Path
    note: str
    file: Path | None = None
    before: bytes = b""
    after: bytes = b""
    flags: tuple = ()
    must_refuse: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of input: how an input of it is made, read and judged.

    damage(rng, folder) -> Input changes the copy `folder` of the templates. read(input) -> anything that can be compared,
    by the project's own programs. excuse(input, undamaged result, outcome) -> a name for a difference that the format
    cannot know about, or None. share: how many of the inputs are of this kind, relative to other kinds. template: the
    folders copied. aside: how a line begins that says that the damaged file is left aside.
    """

    name: str
    share: float
    template: tuple
    damage: Callable
    read: Callable
    excuse: Callable = field(default=lambda input, undamaged, outcome: None)
    aside: str | None = None
    batch: int = 25  # inputs per process
    seconds: float = 90.0  # for one input
    names: Callable = field(default=lambda input: (input.file.name,) if input.file else input.flags[:1])
