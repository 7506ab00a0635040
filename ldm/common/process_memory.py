"""How much memory this process takes, from the system."""

import resource
import sys
from pathlib import Path


def resident_memory() -> int:
    """Bytes in the machine's memory now (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak_memory() -> int:
    """The most bytes this process has had in the machine's memory.

    Not `ru_maxrss` on Linux: a process started by another one begins there with that one's peak.
    """
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
