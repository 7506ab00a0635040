"""Two sets of captioned images trained on together: one source, and how much of each the order of a run takes."""

from dataclasses import dataclass
from fractions import Fraction

from ldm.data.sources.source import ImageSource


@dataclass(frozen=True)
class Mix:
    """Samples 0 to own - 1 of a dataset are its own, the `other` after them are mixed in as `share` of what is seen."""

    own: int
    other: int
    share: Fraction

    @classmethod
    def of(cls, own: int, other: int, share: float):
        """With the share as a fraction of at most a thousandth: positions are told apart by whole numbers."""
        return cls(own, other, Fraction(share).limit_denominator(1000))


class Joined(ImageSource):
    """The images of one source, then those of another."""

    def __init__(self, own: ImageSource, other: ImageSource):
        self.own, self.other, self.where = own, other, own.where

    def __len__(self):
        return len(self.own) + len(self.other)

    def _part(self, index: int):
        """(the source of image `index`, its number there)."""
        own = len(self.own)
        return (self.own, index) if index < own else (self.other, index - own)

    def name(self, index):
        source, number = self._part(index)
        return source.name(number) if source is self.own else f"{source.where}/{source.name(number)}"

    def caption(self, index):
        source, number = self._part(index)
        return source.caption(number)

    def open(self, index):
        source, number = self._part(index)
        return source.open(number)

    def stamp(self, index):
        source, number = self._part(index)
        return source.stamp(number)

    def metadata(self, index):
        source, number = self._part(index)
        return source.metadata(number)

    def label(self, index):
        source, number = self._part(index)
        return source.label(number)
