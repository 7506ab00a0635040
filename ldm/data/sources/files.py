"""Files that are read while they must stay as they are: what tells without reading one whether it has changed, and pieces
of large ones, read by offset from any process (the lines of a table, the members of a tar)."""

import hashlib
import io
import os
from collections import OrderedDict

from ldm.data.texts import printable

OPEN_FILES = 64  # kept open at once; there may be thousands of shards


def stamp_of(path) -> tuple[int, int, int, int]:
    """(bytes, modification time in ns, inode, change time in ns) of a file.

    Copying, replacing, touching or setting back the modification time gives another stamp: no program can set the
    inode and the change time. Only a file that is overwritten in place within one tick of the system's clock (some
    milliseconds), by as many bytes, keeps its stamp.
    """
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns


def stamp_key(name: str, stamp) -> int:
    """64 bits that stand for a file of that name (within its dataset) as it is now."""
    text = "\0".join([name, *map(str, stamp)]).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def key_of_image(source, index: int) -> int:
    """stamp_key of a source's image; also of one that is gone, since opening it will say so."""
    try:
        stamp = source.stamp(index)
    except OSError:
        stamp = (-1,)
    return stamp_key(source.name(index), stamp)


class FileSlices:
    """Reads (offset, length) of files by path. Safe after fork, and travels to the loader's workers; not for threads.

    What is expected where is known from an earlier reading, so a file that has changed since is refused.
    """

    def __init__(self):
        self._open, self._stamps = OrderedDict(), {}

    def __getstate__(self):
        return {"_open": OrderedDict(), "_stamps": self._stamps}  # descriptors do not travel

    def expect(self, path: str, size: int, mtime_ns: int):
        """Say how many bytes and which modification time `path` has: with others it is not read."""
        self._stamps[path] = size, mtime_ns

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes of `path`; ValueError if it is shorter than that by now, or not what was expected."""
        descriptor = self._descriptor(path)
        stat = os.fstat(descriptor)
        changed = self._stamps.get(path, (stat.st_size, stat.st_mtime_ns)) != (stat.st_size, stat.st_mtime_ns)
        if changed or not 0 <= offset <= offset + length <= stat.st_size:
            raise _changed(path)
        data = os.pread(descriptor, length, offset)
        if len(data) != length:
            raise _changed(path)
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


def _changed(path: str) -> ValueError:
    return ValueError(
        f"{printable(path)} has changed since it was opened: leave it alone while it is used, start again."
    )


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
