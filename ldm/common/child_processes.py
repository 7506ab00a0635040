"""Forked processes end with their parent, whatever ends that, and leave nothing behind in shared memory."""

import mmap
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from functools import cache

PR_SET_PDEATHSIG = 1  # of Linux' prctl
SHARED_MEMORY = "/dev/shm"
DAY = 24 * 60 * 60  # seconds


def is_alive(process: int) -> bool:
    """Whether a process with this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's; no number of a process
        return True
    return True


def get_signal_at_parents_end(number: int, parent: int):
    """In a child: have the system send it signal `number` when process `parent` ends, at once if it has already.

    Where the system cannot, a thread asks twice a second. On Linux it is the thread that forked whose end counts.
    """
    if (call := prctl()) is not None:
        call(PR_SET_PDEATHSIG, number, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(number, parent), daemon=True).start()
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), number)


@cache
def prctl():
    """Linux' function of that name, to be found before a fork; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    return getattr(ctypes.CDLL(None), "prctl", None)


def _watch(number: int, parent: int):
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), number)


@cache
def _needed() -> mmap.mmap:
    """A byte that this process shares with those it forks: whether it needs its workers whatever signal they get."""
    return mmap.mmap(-1, 1)


def need_workers(needed: bool):
    """Have workers outlive a SIGTERM that a launcher or a scheduler sends to all, while a checkpoint is still to come."""
    _needed()[0] = needed


class EndWithParent:
    """worker_init_fn of a DataLoader made by this process: its workers end with it and clear their shared memory.

    They ignore Ctrl-C, which reaches them too: the parent ends them, or its end does.
    """

    def __init__(self):
        self.parent, self.needed = os.getpid(), _needed()
        prctl()

    def __call__(self, worker: int):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: self.needed[0] or _leave())
        signal.signal(signal.SIGUSR1, _leave)
        get_signal_at_parents_end(signal.SIGUSR1, self.parent)


def _leave(*_):
    remove_shared_memory(lambda maker, file: maker == os.getpid())
    os._exit(0)


def remove_forgotten_shared_memory():
    """Remove the files of loaders whose processes were all killed, a day old: another container's may look like them."""

    def forgotten(maker, file):
        return time.time() - file.stat().st_mtime > DAY and not is_alive(maker)

    remove_shared_memory(forgotten)


def remove_shared_memory(chosen):
    """Remove the files of Paddle's loaders of which chosen(process that made it, os.DirEntry) is true."""
    with suppress(OSError):  # no such folder on other systems
        for entry in os.scandir(SHARED_MEMORY):
            owner, *rest = entry.name.removeprefix("paddle_").split("_")  # paddle_PROCESS_NUMBER_RANDOM
            if entry.name.startswith("paddle_") and len(rest) == 2 and all(map(str.isdecimal, (owner, *rest))):
                with suppress(OSError):  # gone, or somebody else's
                    if chosen(int(owner), entry):
                        os.unlink(entry.path)
