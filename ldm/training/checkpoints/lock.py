"""One trainer for one output folder: a second one would remove what the first is writing."""

import contextlib
import os
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

FILE = ".lock"
_held = set()  # open locked files of this process


@contextmanager
def output_lock(folder, create: bool = True, log=print):
    """Around everything that changes `folder`; ValueError, naming the other process, if one uses it.

    The system holds the lock as long as this process lives, however it ends; the file goes with a run that ends by itself.
    create: False checks whether another has it, and leaves the folder as it is. Where there are no locks, `log` says so.
    """
    path = Path(folder) / FILE
    if fcntl is None or not (create or path.is_file()):
        yield
        return
    handle = _acquire(path, folder, log)
    _held.add(handle)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        if create:
            path.unlink(missing_ok=True)
        _forget(handle)


def _acquire(path: Path, folder, log) -> int:
    """The open and locked file; opened again where another process has removed it meanwhile, with its lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        _lock(handle, path, folder, log)
        if path.is_file() and path.stat().st_ino == os.fstat(handle).st_ino:
            return handle
        os.close(handle)


def _lock(handle: int, path: Path, folder, log):
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise ValueError(
            f"--output_dir {folder} is in use by another training (process {holder}): wait for it, end it, or choose another "
            "--output_dir."
        ) from None
    except OSError as error:
        log(
            f"{path}: this file system has no locks ({error.strerror}): see to it that no second training uses {folder}."
        )


def _forget(handle: int):
    _held.discard(handle)
    with contextlib.suppress(OSError):  # closed already
        os.close(handle)


def _forget_all():
    """In a forked child: a worker must not hold its parent's locks."""
    for handle in list(_held):
        _forget(handle)


if fcntl is not None:
    os.register_at_fork(after_in_child=_forget_all)
