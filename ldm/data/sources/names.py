"""Many names in little memory: their letters in one block and 8 bytes each, not a Python object each."""

from array import array
from collections.abc import Iterable, Sequence


class Names(Sequence):
    """An append-only list of strings, kept as bytes; a million file names take some 30 MB instead of 200."""

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
        import numpy as np

        return {"letters": np.frombuffer(self._letters, np.uint8), "ends": np.frombuffer(self._ends, np.int64)}

    @classmethod
    def from_arrays(cls, letters, ends) -> "Names":
        """The names that `arrays` wrote; ValueError for arrays that are none."""
        if not len(ends) or ends[0] or ends[-1] != len(letters) or (ends[1:] < ends[:-1]).any():
            raise ValueError("the ends of its names do not ascend from 0 to their length")
        names = cls()
        names._letters, names._ends = bytearray(letters.tobytes()), array("q", ends.tobytes())
        return names
