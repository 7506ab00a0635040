"""Mounts that only this process and its children see: a small disk, a read-only one, a /dev/shm of its own."""

import ctypes
import os
from pathlib import Path

NEWNS, RDONLY, BIND, REMOUNT, REC, PRIVATE = 0x20000, 1, 4096, 32, 16384, 1 << 18
LIBC = ctypes.CDLL(None, use_errno=True)


def own_mounts() -> bool:
    """From now on mounts of this process are its own. False where the system does not allow it."""
    if LIBC.unshare(NEWNS):
        return False
    try:
        mount("none", "/", None, REC | PRIVATE)
    except OSError:
        return False
    return True


def mount(source, target, kind, flags=0, options=""):
    arguments = (str(source).encode(), str(target).encode(), kind.encode() if kind else None, flags, options.encode())
    if LIBC.mount(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"mount {target}")


def small_disk(folder: Path, size: int, again: bool = False):
    """A disk of `size` bytes in the place of `folder`; again: another size for the one that is there."""
    mount("tmpfs", folder, "tmpfs", REMOUNT if again else 0, f"size={size}")


def read_only(folder: Path):
    mount(folder, folder, None, BIND)
    mount("none", folder, None, BIND | REMOUNT | RDONLY)


def unmount(folder: Path):
    LIBC.umount2(str(folder).encode(), 2)  # MNT_DETACH
