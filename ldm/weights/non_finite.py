"""NaN and infinity in a file of weights: which tensor holds one, for the message that names the file to blame."""

from typing import Optional

from ldm.weights.files import TensorFile
from ldm.weights.finite import all_finite


def non_finite_tensor(path) -> Optional[str]:
    """The first tensor of a safetensors file that holds NaN or infinity, or None.

    The file is read in pieces, in its own order: about as long as copying it takes, and no memory to speak of. To be
    called once something non-finite has come out of the weights, not while loading them. Errors as of TensorFile.
    """
    with TensorFile(path) as file:
        return next((key for key in file.keys() if not all(map(all_finite, file.pieces(key)))), None)
