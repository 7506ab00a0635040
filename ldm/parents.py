"""Child processes that end when their parent does, even if it is killed. Standard library only."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of Linux' prctl


def end_with_parent(parent: int):
    """Have the kernel kill this process as soon as `parent`, its process id, ends; where there is no Linux, do nothing.

    It ends with the thread that started it, too: start such processes from one that stays.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before that
        os._exit(1)
