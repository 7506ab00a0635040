"""What tells without reading it whether a file is still the one that was looked at."""

import hashlib
import os


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
