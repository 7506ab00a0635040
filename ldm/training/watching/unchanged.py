"""What a look at a run may do without changing it: random numbers as it likes, which are put back afterwards."""

import random
from contextlib import contextmanager

import numpy as np
import paddle


@contextmanager
def undisturbed():
    """Every global random generator, on CPU and GPU, as it was before, whatever is drawn inside."""
    python, numpy = random.getstate(), np.random.get_state()
    cpu, device = paddle.get_rng_state("cpu"), paddle.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        paddle.set_rng_state(cpu, "cpu")
        paddle.set_rng_state(device)
