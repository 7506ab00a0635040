"""What this process has in memory, from the system (Linux)."""

import resource
from pathlib import Path


def resident() -> int:
    """Bytes in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def peak() -> int:
    """The most it ever was, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
