"""Preparing the process before Paddle is imported: threads, and warnings that our users can do nothing about."""

import contextlib
import io
import os
import signal
import sys
import warnings
from functools import cache

from ldm.common.cli.signals import held

# Printed on every import of the stack whatever one does: they hide the messages that matter
NOISE = ("No ccache found", "Setuptools is replacing distutils", "OMP_NUM_THREADS", "pkg_resources is deprecated")

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


def use_exact_matrix_products():
    """Let GPUs multiply float32 as float32, unless the user has set the variable: newer ones use TF32, of 10 bits."""
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def prepare():
    """Use every core (Paddle's CPU kernels default to one thread; a value the user has set is kept), import quietly."""
    import logging

    use_fast_matrix_products()
    keep_freed_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    for message in NOISE:
        warnings.filterwarnings("ignore", message=f".*{message}")
    logging.getLogger("datasets").setLevel(logging.WARNING)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured), held(signal.SIGTERM):  # Paddle sets a handler of its own for it
            import paddle  # noqa: F401
    finally:
        kept = [line for line in captured.getvalue().splitlines() if not any(noise in line for noise in NOISE)]
        if kept:
            print("\n".join(kept), file=sys.stderr)
    keep_signal_handlers()
    use_copying_transposes()
