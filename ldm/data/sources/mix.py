"""Sources made of others: some of the images of one (Subset), two trained on together (Joined), and in which shares (Mix)."""

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ldm.data.sources.source import ImageSource


class _Composed(ImageSource):
    """Every image is one of another source."""

    @abstractmethod
    def _part(self, index: int) -> tuple[ImageSource, int]:
        """The source of image `index`, and its number there."""

    def name(self, index):
        source, number = self._part(index)
        return source.name(number)

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


class Subset(_Composed):
    """Some of a source's images. indices: (M,) numbers in the source."""

    def __init__(self, source: ImageSource, indices):
        self.source, self.where, self.indices = source, source.where, np.asarray(indices, np.int64)

    def __len__(self):
        return len(self.indices)

    def _part(self, index):
        return self.source, self.indices[index]


class Joined(_Composed):
    """The images of one source, then those of another."""

    def __init__(self, own: ImageSource, other: ImageSource):
        self.own, self.other, self.where = own, other, own.where

    def __len__(self):
        return len(self.own) + len(self.other)

    def _part(self, index):
        own = len(self.own)
        return (self.own, index) if index < own else (self.other, index - own)

    def name(self, index):
        source, number = self._part(index)
        return source.name(number) if source is self.own else f"{source.where}/{source.name(number)}"


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
