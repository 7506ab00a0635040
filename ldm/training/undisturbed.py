"""What a look at a run may do without changing it: random numbers as it likes, which are put back afterwards."""

import random
from contextlib import contextmanager

import numpy as np
import paddle
from paddle.base import core


@contextmanager
def undisturbed():
    """Every global random generator, on CPU and GPU, as it was before, whatever is drawn inside."""
    python, numpy = random.getstate(), np.random.get_state()
    generator = core.default_cpu_generator()  # paddle.set_rng_state(..., "cpu") is an AttributeError before Paddle 3.3
    cpu, device = generator.get_state(), paddle.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        generator.set_state(cpu)
        paddle.set_rng_state(device)
