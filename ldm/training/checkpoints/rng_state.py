"""The states of all random number generators of a process: read from a checkpoint, put back, preserved while others draw."""

import random
from contextlib import contextmanager

import numpy as np
import paddle
from paddle.base import core

from ldm.training.checkpoints.restore import damaged
from ldm.weights.unpickler import GeneratorState

TWISTER_WORDS = 312  # of Paddle's 64-bit Mersenne Twister


@contextmanager
def preserved_rng_state():
    """Puts every global random generator, on CPU and GPU, back to where it was before the block, whatever is drawn in it."""
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


def restore_rng_state(path, state: dict):
    """Put all generators of this process into the checked `state`; those of GPUs if it has as many of them."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    core.default_cpu_generator().set_state(generator_state(state["cpu"]))
    if core.is_compiled_with_cuda():
        if len(state["cuda"]) != core.get_cuda_device_count():
            raise damaged(path, f"is of {len(state['cuda'])} GPUs, and there are {core.get_cuda_device_count()}")
        for index, generator in enumerate(state["cuda"]):
            core.default_cuda_generator(index).set_state(generator_state(generator))


def check_rng_state(path, state) -> dict:
    """The states of all random number generators of one process. Positions are bounded: the generators believe them."""
    if not isinstance(state, dict) or not {"python", "numpy", "cpu", "cuda"} <= state.keys():
        raise damaged(path, "has no states of random number generators in it")
    python, numpy = state["python"], state["numpy"]
    if not (isinstance(python, tuple) and len(python) == 3 and isinstance(python[1], tuple) and len(python[1]) == 625):
        raise damaged(path, "has no state of Python's random numbers")
    if not all(type(word) is int and 0 <= word < 1 << 32 for word in python[1]) or python[1][-1] > 624:
        raise damaged(path, "has an impossible state of Python's random numbers")
    known = isinstance(numpy, tuple) and len(numpy) == 5 and numpy[0] == "MT19937" and isinstance(numpy[1], np.ndarray)
    if not known or numpy[1].shape != (624,) or numpy[1].dtype != np.uint32 or type(numpy[2]) is not int:
        raise damaged(path, "has no state of NumPy's random numbers")
    if not 0 <= numpy[2] <= 624 or numpy[3] not in (0, 1) or not isinstance(numpy[4], (int, float)):
        raise damaged(path, "has an impossible state of NumPy's random numbers")
    if not isinstance(state["cuda"], list):
        raise damaged(path, "has no list of the devices' random numbers")
    for generator in (state["cpu"], *state["cuda"]):
        _check_generator(path, generator)
    return state


def _check_generator(path, state):
    """device, seed, offset, and the Mersenne Twister as the codes of its words' digits, the last of them its position."""
    if not (isinstance(state, GeneratorState) and len(state) == 4 and all(type(n) is int for n in state[:3])):
        raise damaged(path, "has no state of Paddle's random numbers")
    codes = state[3]
    digits = (
        isinstance(codes, list) and len(codes) < 21 * (TWISTER_WORDS + 2) and all(type(code) is int for code in codes)
    )
    if not digits or not set(codes) <= set(b"0123456789 "):
        raise damaged(path, "has an impossible state of Paddle's random numbers")
    words = [int(word) for word in bytes(codes).split()]
    if words and (len(words) != TWISTER_WORDS + 1 or max(words) >= 1 << 64 or words[-1] > TWISTER_WORDS):
        raise damaged(path, "has an impossible state of Paddle's random numbers")
    if any(abs(number) >= 1 << 63 for number in state[:3]):
        raise damaged(path, "has an impossible state of Paddle's random numbers")


def generator_state(state: GeneratorState):
    """Paddle's own object for a checked state; it has no constructor."""
    built = core.GeneratorState.__new__(core.GeneratorState)
    built.__setstate__(tuple(state))
    return built
