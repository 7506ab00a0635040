"""Paddle's .pdparams (pickles) read through an unpickler that can build arrays and nothing else."""

import pickle
from pathlib import Path

import numpy as np

ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("collections", "OrderedDict"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which a weights file has no use for")
        return super().find_class(module, name)


def read_pdparams(path) -> dict:
    """{key: array} of a state dict saved by `paddle.save`; bfloat16 comes as float32.

    ValueError for anything that is not a plain dictionary of arrays: such a file is never executed.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            state = _ArrayUnpickler(file).load()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist.") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not a readable weights file: {error}.") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a dictionary of weights.")
    arrays = {key: value for key, value in state.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise ValueError(f"{path} holds no weights.")
    return {key: _widened(array) for key, array in arrays.items()}


def _widened(array: np.ndarray) -> np.ndarray:
    """Paddle saves bfloat16 as its bits in uint16, the upper half of a float32's."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array
