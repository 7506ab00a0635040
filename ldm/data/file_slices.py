"""Pieces of large files, read by offset from any process: the lines of a table, the members of a tar."""

import io
import os
from collections import OrderedDict

OPEN_FILES = 64  # kept open at once; there may be thousands of shards


class FileSlices:
    """Reads (offset, length) of files by path. Safe after fork, and travels to the loader's workers."""

    def __init__(self):
        self._open = OrderedDict()

    def __getstate__(self):
        return {"_open": OrderedDict()}  # descriptors do not travel

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of `path`; ValueError if it is shorter than that by now."""
        data = os.pread(self._descriptor(path), length, offset)
        if len(data) != length:
            raise ValueError(f"{path} ends before byte {offset + length}: it has changed since it was opened.")
        return data

    def open(self, path: str, offset: int, length: int) -> io.BufferedReader:
        """The bytes as a file of their own that is read as far as is asked for."""
        return io.BufferedReader(_Slice(self, path, offset, length))

    def _descriptor(self, path: str) -> int:
        if path in self._open:
            self._open.move_to_end(path)
        else:
            if len(self._open) >= OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
            self._open[path] = os.open(path, os.O_RDONLY)
        return self._open[path]


class _Slice(io.RawIOBase):
    def __init__(self, slices: FileSlices, path: str, offset: int, length: int):
        self.slices, self.path, self.offset, self.length, self.position = slices, path, offset, length, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=io.SEEK_SET):
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.length}[whence]
        self.position = max(0, start + offset)
        return self.position

    def tell(self):
        return self.position

    def readinto(self, buffer):
        count = max(0, min(len(buffer), self.length - self.position))
        if count:
            buffer[:count] = self.slices.read(self.path, self.offset + self.position, count)
            self.position += count
        return count
