"""The one switch between a layer's formula and a faster way to compute the same.

A formula hands over by one line, `@faster(way)`; way(formula, *arguments) computes the same, or calls the formula where
it does not pay. Formulas alone compute where CASCADE_PLAIN_FORMULAS=1 is set and within `plain_formulas()`.
"""

import os
from contextlib import contextmanager
from functools import wraps

import paddle

WAYS = {}  # name -> way, in the order of definition
_off = set()


def faster(way, everywhere=False):
    """Decorator of a formula: on a CPU, or everywhere, `way` is called in its place, the formula its first argument."""
    name = way.__name__
    WAYS[name] = way
    if os.environ.get("CASCADE_PLAIN_FORMULAS", "0") not in ("", "0"):
        _off.add(name)

    def beside(formula):
        @paddle.jit.not_to_static  # Paddle's translator cannot read this; what is called needs no translation
        @wraps(formula)
        def either(*arguments, **options):
            if name in _off or not (everywhere or paddle.get_device() == "cpu"):
                return formula(*arguments, **options)
            return WAYS[name](formula, *arguments, **options)

        return either

    return beside


@contextmanager
def plain_formulas(*names):
    """Within, these ways are switched off and their formulas compute; without names all of them."""
    unknown = sorted(set(names) - set(WAYS))
    if unknown:
        raise ValueError(f"No faster way is called {', '.join(unknown)}: there are {', '.join(WAYS)}.")
    before = set(_off)
    _off.update(names or WAYS)
    try:
        yield
    finally:
        _off.clear()
        _off.update(before)


def switched_off() -> list:
    """The names of the ways that are off."""
    return sorted(_off)


def eager_float32(*tensors) -> bool:
    """Whether operations run one by one, not in a program (oneDNN computes those), on float32 tensors."""
    return paddle.in_dynamic_mode() and all(tensor.dtype == paddle.float32 for tensor in tensors)


def wanted(*tensors) -> list:
    """Which of a PyLayer's inputs need a gradient."""
    return [not tensor.stop_gradient for tensor in tensors]
