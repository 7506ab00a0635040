"""NaN and infinity in weights: which tensor holds one, for the message that names the file to blame."""

from typing import Optional

import numpy as np

from ldm.weights.files import TensorFile

EXPONENT = np.uint16(0x7F80)  # of bfloat16; all of its bits are set in NaN and infinity alone


def non_finite_tensor(path) -> Optional[str]:
    """The first tensor of a safetensors file that holds NaN or infinity, or None.

    The file is read in pieces, in its own order: about as long as copying it takes, and no memory to speak of. To be
    called once something non-finite has come out of the weights, not while loading them. Errors as of TensorFile.
    """
    with TensorFile(path) as file:
        return next((key for key in file.keys() if not all(map(all_finite, file.pieces(key)))), None)


def all_finite(values: np.ndarray) -> bool:
    """Whether an array holds neither NaN nor infinity; uint16 are the bits of bfloat16, other integers always finite."""
    if values.dtype == np.uint16:
        return not ((values & EXPONENT) == EXPONENT).any()
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
