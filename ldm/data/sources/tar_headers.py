"""Where the files in a tar lie: its headers as tarfile reads them, with limits on what a damaged or hostile one may ask for."""

import io
import os
import struct
import tarfile
from collections.abc import Iterator

BLOCK = 512
LONGEST_EXTENSION = 1 << 20  # bytes of a name or extension before a header; tarfile would take what memory it claims
DAMAGED = (tarfile.TarError, EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError)
DAMAGED += (struct.error,)  # what tarfile raises on headers that make no sense


def tar_files(path: str) -> Iterator[tuple[str, int, int]]:
    """(name, offset of the data, size) of the regular files in an uncompressed tar, in its order.

    tarfile.TarError for a damaged tar or one that was cut off. Names may be absolute or begin with ..: they are but
    labels, nothing is ever opened by them. Links, devices and folders in it are no files.
    """
    with open(path, "rb") as file:
        try:
            yield from _files(file)
        except DAMAGED as error:
            raise tarfile.ReadError(str(error) or type(error).__name__) from error


def _files(file):
    with tarfile.open(fileobj=_Bounded(file), mode="r:") as tar:
        position = -1
        while (member := tar.next()) is not None:
            if member.size < 0 or member.offset_data <= position:
                raise tarfile.ReadError("a header's size is negative")
            position = member.offset_data
            if member.issparse():
                raise tarfile.ReadError(f"{member.name!r} is a sparse file: write the tar without --sparse")
            if member.isreg():
                yield member.name, member.offset_data, member.size
            tar.members = []  # it would keep every header it has seen
        if os.fstat(file.fileno()).st_size < tar.offset:
            raise tarfile.ReadError("its end is missing")
        _check_end(file.fileno(), tar.offset)


def _check_end(descriptor: int, position: int):
    """ReadError where anything but zeros comes from `position` on: tarfile takes a damaged header for the tar's end."""
    while data := os.pread(descriptor, 1 << 20, position):
        if any(data):
            raise tarfile.ReadError(
                f"a header at byte {position} is damaged, or something else comes behind the tar's end there, as in "
                "tars that were joined with cat"
            )
        position += len(data)


class _Bounded(io.RawIOBase):
    """A tar's file for tarfile, which believes the lengths in headers, and at its end would wait for more for ever."""

    def __init__(self, file):
        self.file, self.ended = file, False

    def read(self, size=-1):
        if not 0 <= size <= LONGEST_EXTENSION:
            raise tarfile.ReadError(f"an extension of {size} bytes before a header")
        data = self.file.read(size)
        if not data and size and self.ended:
            raise tarfile.ReadError("unexpected end of data")
        self.ended = not data
        return data

    def seek(self, offset, whence=io.SEEK_SET):
        return self.file.seek(offset, whence)

    def tell(self):
        return self.file.tell()
