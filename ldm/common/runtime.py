"""Preparing the process before Paddle is imported: threads, and warnings that our users can do nothing about."""

import contextlib
import io
import os
import re
import signal
import sys
from functools import cache
from importlib.util import find_spec

from ldm.common.cli.signals import held
from ldm.common.quiet import PRINTED_ON_IMPORT, ignore_warnings

FIRST, LAST = (3, 0), (3, 3)  # versions of Paddle that docs/versions.md has results of

AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}  # as all processors have it since Skylake-X

# What MKL_DEBUG_CPU_TYPE calls a processor, and what that one must be able to do
MKL_TYPES = {
    "7": AVX512,  # Skylake-X
    "5": {"avx2", "fma"},  # Haswell
}


@cache
def processor() -> frozenset:
    """The words of /proc/cpuinfo about the first processor (Linux); none on other systems."""
    try:
        with open("/proc/cpuinfo") as file:
            return frozenset(file.read(8192).split())
    except OSError:
        return frozenset()


def has_avx512() -> bool:
    """Whether this machine is known to compute 512 bits at a time."""
    return processor() >= AVX512


def mkl_type(words):
    """The MKL_DEBUG_CPU_TYPE for a processor, from the words of /proc/cpuinfo; None where MKL needs no help."""
    if "AuthenticAMD" not in words:
        return None
    return next((number for number, needed in MKL_TYPES.items() if needed <= words), None)


def use_fast_matrix_products():
    """On an AMD processor, tell Paddle's MKL what it can do.

    The MKL inside Paddle's wheel is of 2019 and takes any processor that is not Intel's for one without AVX2:
    float32 matrix products ran at a quarter of the speed of AVX2, and at an eighth of that of AVX-512
    (benchmarks/matrix_product.py). The variable is ignored by newer versions of MKL.
    """
    if (number := mkl_type(processor())) is not None:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", number)


def keep_freed_memory():
    """Let glibc keep large freed blocks for the next tensor instead of returning them to the system at once.

    Every activation is a new allocation in Paddle on a CPU; having the system clear its pages again each time cost
    three to eight times what the element-wise operations themselves take. Peak memory stays the same.
    """
    mmap_max, trim_threshold, never = -4, -1, 2**31 - 1
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # another C library: nothing to tune
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, never)


def use_copying_transposes():
    """Without a GPU, let Paddle transpose and cut tensors by copying at once, unless FLAGS_use_stride_kernel is set.

    Paddle's views are copied by the next operation that needs their elements in order, and on a CPU that copy is 10 to
    50 times slower than the transposition itself: it took two thirds of an attention block's time.
    """
    import paddle

    if "FLAGS_use_stride_kernel" not in os.environ and not paddle.device.is_compiled_with_cuda():
        paddle.set_flags({"FLAGS_use_stride_kernel": False})


@cache
def keep_signal_handlers():
    """Let PaddleNLP switch Paddle's signal handlers off, as it does on import, without ours going with them."""
    import paddle

    switch_off = paddle.disable_signal_handler

    def switch_off_paddles_alone():
        with held(signal.SIGTERM):
            switch_off()

    paddle.disable_signal_handler = switch_off_paddles_alone


def paddle_version() -> str | None:
    """The version of the Paddle that would be imported, read from its files: importing an old one may itself fail."""
    spec = find_spec("paddle")
    for folder in spec.submodule_search_locations or () if spec else ():
        with contextlib.suppress(OSError), open(os.path.join(folder, "version", "__init__.py")) as file:
            if found := re.search(r"""^full_version\s*=\s*['"]([^'"]+)""", file.read(), re.MULTILINE):
                return found[1]
    return None


def check_paddle(version: str | None):
    """ValueError for a Paddle before FIRST; a line about one after LAST. Builds from source (0.0.0) are not known."""
    numbers = re.match(r"(\d+)\.(\d+)", version or "")
    given = tuple(map(int, numbers.groups())) if numbers else (0, 0)
    if (0, 0) < given < FIRST:
        raise ValueError(
            f"PaddlePaddle {version} is too old: 3.0 to 3.3 work here. Install one of those, pip install "
            "paddlepaddle==3.3.1 on a CPU, paddlepaddle-gpu of Paddle's installation page on a GPU; docs/versions.md has more."
        )
    if given > LAST and os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
        print(
            f"PaddlePaddle {version} is newer than 3.3, the last one that has been tried here: it may work.",
            file=sys.stderr,
        )


def use_exact_matrix_products():
    """Let GPUs multiply float32 as float32, unless the user has set the variable: newer ones use TF32, of 10 bits."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def prepare():
    """Use every core (Paddle's CPU kernels default to one thread; a value the user has set is kept), import quietly."""
    use_fast_matrix_products()
    keep_freed_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    ignore_warnings()
    check_paddle(paddle_version())
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured), held(signal.SIGTERM):  # Paddle sets a handler of its own for it
            import paddle  # noqa: F401
    finally:
        lines = captured.getvalue().splitlines()
        kept = [line for line in lines if not any(noise in line for noise in PRINTED_ON_IMPORT)]
        if kept:
            print("\n".join(kept), file=sys.stderr)
    keep_signal_handlers()
    use_copying_transposes()
