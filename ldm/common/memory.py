"""How much memory this process takes, and how much is free, on whatever device computes.

Paddle is imported only where it is asked: processes without it are measured too.
"""

import sys
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # a container's own limit, version 2


def resident_memory() -> int:
    """Bytes of this process in the machine's memory now."""
    return psutil.Process().memory_info().rss


def peak_memory() -> int:
    """The most bytes this process has had in the machine's memory.

    Not `ru_maxrss` on Linux: a process started by another one begins there with that one's peak.
    """
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def gib(size: float) -> str:
    """Bytes as GiB, two decimals."""
    return f"{size / 2**30:.2f}"


def on_cpu() -> bool:
    """Whether Paddle computes on a CPU."""
    import paddle

    return paddle.get_device() == "cpu"


def allocated() -> int:
    """Bytes of all tensors of this process."""
    import paddle

    if on_cpu():
        return paddle.base.core.host_memory_stat_current_value("Allocated", 0)
    return paddle.device.cuda.memory_allocated()


def peak_allocated() -> int:
    """The most bytes of tensors since `reset_peak`."""
    import paddle

    if on_cpu():
        return paddle.base.core.host_memory_stat_peak_value("Allocated", 0)
    return paddle.device.cuda.max_memory_allocated()


def reset_peak():
    """Start a new peak."""
    import paddle

    if on_cpu():
        paddle.base.core.host_memory_stat_reset_peak_value("Allocated", 0)
    else:
        paddle.device.cuda.reset_max_memory_allocated()


def available() -> int:
    """Bytes that this process could still take: of the GPU, or of the machine's memory and of its container's."""
    import paddle

    if not on_cpu():
        total = paddle.device.cuda.get_device_properties().total_memory
        return total - paddle.device.cuda.memory_allocated()
    return host_available()


def host_available() -> int:
    """Bytes of the machine's memory, of its container's and below the process's own limit that it could still take."""
    return max(0, min([psutil.virtual_memory().available, *_container(), *_own_limit()]))


def _own_limit() -> list[int]:
    """What the process's limit of addresses leaves (ulimit -v), if there is one."""
    process = psutil.Process()
    if not hasattr(process, "rlimit"):  # systems other than Linux
        return []
    limit = process.rlimit(psutil.RLIMIT_AS)[0]
    return [] if limit == psutil.RLIM_INFINITY else [limit - process.memory_info().vms]


def _container() -> list[int]:
    """What a container's limit leaves, if there is one."""
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
        cached = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, ValueError, KeyError):
        return []
    return [] if limit == "max" else [int(limit) - used + int(cached)]
