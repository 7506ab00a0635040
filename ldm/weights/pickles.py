"""Paddle's pickles (.pdparams, .pdopt, rng_state.pth) read by `ldm.weights.unpickler`, which executes nothing of them."""

import pickle
from pathlib import Path

import numpy as np

from ldm.weights.unpickler import unpickled

NAME_TABLE = "StructuredToParameterName@@"  # beside the arrays of a model's state
REMEDY = "take another checkpoint, or write it again"


def read_pickle(path):
    """What a file of `paddle.save` holds: dicts, lists, tuples, texts, bytes, numbers, None, numpy arrays (read-only) and
    GeneratorStates. Tensors that were pickled by themselves come as (name, array).

    ValueError for anything else: nothing of such a file is executed. FileNotFoundError.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return unpickled(file, path.stat().st_size)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist.") from None
    except (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is not a readable weights file ({_said(error)}): {REMEDY}.") from error


def read_pdparams(path) -> dict:
    """{key: array} of a state dict saved by `paddle.save`; bfloat16 comes as float32. ValueError for anything else."""
    state = read_pickle(path)
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, not a dictionary of weights: {REMEDY}.")
    state.pop(NAME_TABLE, None)
    strange = [key for key, value in state.items() if not (isinstance(key, str) and isinstance(value, np.ndarray))]
    if strange:
        raise ValueError(f"{path}: {str(strange[0])[:80]!r} is no array: this is not a dictionary of weights.")
    if not state:
        raise ValueError(f"{path} holds no weights.")
    state = {key: widened(array) for key, array in state.items()}
    if integers := [key for key, array in state.items() if array.dtype.kind != "f"]:
        raise ValueError(
            f"{path}: {integers[0][:80]!r} is {state[integers[0]].dtype}, and weights are no integers: {REMEDY}."
        )
    return state


def widened(array: np.ndarray) -> np.ndarray:
    """Paddle saves bfloat16 as its bits in uint16, the upper half of a float32's."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


def _said(error: Exception) -> str:
    """What went wrong; of an unknown instruction the error is its code alone."""
    if isinstance(error, KeyError):
        return f"it has the instruction or entry {error}, which a weights file has no use for"
    return str(error)[:200] or type(error).__name__
