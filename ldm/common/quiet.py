"""Other people's messages that a user can do nothing about: each kept quiet where it comes from, with the reason."""

import logging
import os
import sys
import warnings
from contextlib import contextmanager

WARNINGS = (  # (beginning of a Python warning, the module it is about as a pattern)
    ("No ccache found", r"paddle\.utils\.cpp_extension"),  # on every import of Paddle; nothing is compiled with it here
    ("Setuptools is replacing distutils", "_distutils_hack"),  # on the same import, as Paddle asks for distutils first
    ("pkg_resources is deprecated", r"jieba\._compat"),  # jieba, which PaddleNLP imports, beside setuptools 67 to 81
    ("When training, we now always track", r"paddle\.nn\.layer\.norm"),  # at every BatchNorm's first step: as it should
    (r"\s*Non compatible API", r"paddle\.utils\.decorator_utils"),  # 3.2, at the first split(): PyTorch's is another
)
# Paddle prints this on import for more than one thread, which is what we want
PRINTED_ON_IMPORT = ("OMP_NUM_THREADS",)
# Said as INFO when PaddleNLP imports it: "PyTorch version available", which nothing here computes with
CHATTY = ("datasets",)
# Paddle 3.3's C++, once in a process, at the first operation it traces: Paddle's own functions hand out=None on
NO_OUT = "Paddle static graph(PIR) not support input out tensor"


def ignore_warnings():
    """Before Paddle is imported: of WARNINGS and CHATTY, nothing is shown."""
    for message, module in WARNINGS:
        warnings.filterwarnings("ignore", message, Warning, module)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


@contextmanager
def without_lines(*noise: str):
    """What is written to standard error meanwhile, by C++ too, comes at the end, less the lines with `noise` in them.

    For moments in which little is said: what does not fit into a pipe is lost.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    sys.stderr.flush()
    error = os.dup(2)
    os.dup2(write, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(error, 2)
        os.close(write)
        with os.fdopen(read, "rb") as said, os.fdopen(error, "wb") as out:
            out.writelines(line for line in said if not any(word.encode() in line for word in noise))
