"""Preparing the process before Paddle is imported: threads, and warnings that say nothing to our users."""

import contextlib
import io
import logging
import os
import sys
import warnings

# Printed on every import of the stack whatever one does: they hide the messages that matter
NOISE = ("No ccache found", "Setuptools is replacing distutils", "OMP_NUM_THREADS", "pkg_resources is deprecated")


def prepare():
    """Use every core (Paddle's CPU kernels default to one thread; a value the user has set is kept), import quietly."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(cores))
    for message in NOISE:
        warnings.filterwarnings("ignore", message=f".*{message}")
    logging.getLogger("datasets").setLevel(logging.WARNING)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            import paddle  # noqa: F401
    finally:
        kept = [line for line in captured.getvalue().splitlines() if not any(noise in line for noise in NOISE)]
        if kept:
            print("\n".join(kept), file=sys.stderr)
