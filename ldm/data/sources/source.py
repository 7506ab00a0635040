"""What every kind of dataset on disk offers: captioned images by number, each read only when it is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from ldm.data.texts import printable


class ImageSource(ABC):
    """N captioned images in a fixed order. Everything but the length is read from disk when it is asked for.

    where: the folder or file that messages name.
    """

    where: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def name(self, index: int) -> str:
        """The image's name within the dataset, different for every image."""

    @abstractmethod
    def caption(self, index: int) -> str:
        """One line. ValueError if it is empty or cannot be read."""

    @abstractmethod
    def open(self, index: int) -> BinaryIO:
        """The image's file, to be read and closed."""

    @abstractmethod
    def stamp(self, index: int) -> tuple[int, int, int, int]:
        """stamp_of the image's file (ldm/data/sources/stamps.py), its bytes being the image's: another stamp, perhaps another image."""

    @abstractmethod
    def metadata(self, index: int) -> dict:
        """What filters look at: {key: value}. ValueError if the sample has none."""

    def metadata_place(self, index: int) -> str:
        """Which file messages say the metadata are in."""
        return self.label(index)

    def label(self, index: int) -> str:
        """What messages call image `index`."""
        return printable(f"{self.where}/{self.name(index)}")

    def read(self, index: int) -> bytes:
        """The image's file, whole."""
        with self.open(index) as file:
            return file.read()


class Subset(ImageSource):
    """Some of a source's images. indices: (M,) numbers in the source."""

    def __init__(self, source: ImageSource, indices):
        self.source, self.where, self.indices = source, source.where, np.asarray(indices, np.int64)

    def __len__(self):
        return len(self.indices)

    def name(self, index):
        return self.source.name(self.indices[index])

    def caption(self, index):
        return self.source.caption(self.indices[index])

    def open(self, index):
        return self.source.open(self.indices[index])

    def stamp(self, index):
        return self.source.stamp(self.indices[index])

    def metadata(self, index):
        return self.source.metadata(self.indices[index])

    def label(self, index):
        return self.source.label(self.indices[index])


class Captions(Sequence):
    """The captions of a source as a list that reads them when they are asked for."""

    def __init__(self, source: ImageSource):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self.source.caption(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"There are {len(self)} captions, number {index} was asked for.")
        return self.source.caption(index % len(self))


def listed(names: Sequence, total: int, shown: int = 8) -> str:
    """The first of `total` names, for messages."""
    rest = f" and {total - shown} more" if total > shown else ""
    return ", ".join(printable(name) for name in names[:shown]) + rest
