"""What every kind of dataset on disk offers: captioned images by number, each read only when it is asked for."""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Sequence
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
        """stamp_of the image's file (ldm/data/sources/files.py), its bytes being the image's: another stamp, perhaps another image."""

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


class Names(Sequence):
    """An append-only list of strings, kept as one block of bytes and 8 bytes each: a million file names take some 30 MB, not 200."""

    def __init__(self, names: Iterable[bytes] = ()):
        self._letters, self._ends = bytearray(), array("q", [0])
        for name in names:
            self.append(name)

    def append(self, name: bytes):
        self._letters += name
        self._ends.append(len(self._letters))

    def extend(self, other: "Names"):
        """Append all names of `other`."""
        shift = len(self._letters)
        self._letters += other._letters
        self._ends.extend(end + shift for end in other._ends[1:])

    def __len__(self):
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f"There are {len(self)} names, number {index} was asked for.")
        return self._letters[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogateescape")

    # As arrays, for files ---------------------------------------------------------------------------------------

    def arrays(self) -> dict:
        """{"letters": uint8 (bytes,), "ends": int64 (N + 1,)}."""
        return {"letters": np.frombuffer(self._letters, np.uint8), "ends": np.frombuffer(self._ends, np.int64)}

    @classmethod
    def from_arrays(cls, letters, ends) -> "Names":
        """The names that `arrays` wrote; ValueError for others."""
        if not len(ends) or ends[0] or ends[-1] != len(letters) or (ends[1:] < ends[:-1]).any():
            raise ValueError("the ends of its names do not ascend from 0 to their length")
        names = cls()
        names._letters, names._ends = bytearray(letters.tobytes()), array("q", ends.tobytes())
        return names


def listed(names: Sequence, total: int, shown: int = 8) -> str:
    """The first of `total` names, for messages."""
    rest = f" and {total - shown} more" if total > shown else ""
    return ", ".join(printable(name) for name in names[:shown]) + rest
