"""NaN and infinity on the way to an image: noticed before they become pixels, and traced to the file that they came from.

A byte has no NaN: converted it is 0, and an image of NaN a black one. Nothing here is computed but one test of each
result until one fails: 2 to 6 ms for an image of 1024 x 1024, 0.4 % of what even the small Stage A of the demo takes.
"""

from collections.abc import Callable, Iterable
from typing import Optional

from ldm.weights.files import TensorFile
from ldm.weights.finite import all_finite, finite

AGAIN = "download or convert it again"


def check_finite(x, what: str, blame: Callable[[], str]):
    """FloatingPointError unless every number of x is finite. `blame()`, called only then, names cause and remedy."""
    if not finite(x):
        raise FloatingPointError(f"{what} is not finite (NaN or infinity). {blame()}".rstrip())


def blame_network(network, paths: Iterable, loras: Iterable = (), dtype: str = "float32") -> str:
    """Why a network's output is not finite, though its input is: the file or files of its weights, or what else it is.

    network: the Layer, or None where it is no longer in memory; paths: files it was read from; loras: paths of what was
    merged into it afterwards; dtype: what it computes in. Weights in memory are looked at first, since training and
    LoRAs change them; then the files, which takes as long as reading them.
    """
    paths, loras = list(paths), list(loras)
    key = non_finite_weight(network) if network is not None else None
    damaged = [] if network is not None and key is None and _complete(network) else _damaged(paths)
    if damaged:
        return " ".join(damaged)
    if key is not None:
        return " ".join(_damaged(loras)) or _changed_in_memory(key, paths, loras, dtype)
    return _overflow(network, paths, loras, dtype)


def non_finite_weight(network) -> str | None:
    """The name of a network's first weight that holds NaN or infinity; those that were given up are not looked at."""
    return next((key for key, weight in _weights(network) if not finite(weight)), None)


def _weights(network):
    """(key, tensor) of everything that is in memory and of a floating type."""
    for key, weight in network.state_dict().items():
        if weight._is_initialized() and weight.is_floating_point():
            yield key, weight


def _complete(network) -> bool:
    return all(weight._is_initialized() for weight in network.state_dict().values())


def _damaged(paths) -> list[str]:
    """A sentence for every file with a tensor that is not finite."""
    found = [(path, non_finite_tensor(path)) for path in paths]
    return [f"{path}: {key} is not finite: {AGAIN}." for path, key in found if key is not None]


def non_finite_tensor(path) -> Optional[str]:
    """The first tensor of a safetensors file that holds NaN or infinity, or None.

    The file is read in pieces, in its own order: about as long as copying it takes, and no memory to speak of. To be
    called once something non-finite has come out of the weights, not while loading them. Errors as of TensorFile.
    """
    with TensorFile(path) as file:
        return next((key for key in file.keys() if not all(map(all_finite, file.pieces(key)))), None)


def _changed_in_memory(key: str, paths, loras, dtype: str) -> str:
    """Weights that are finite in their files and not in memory."""
    files = ", ".join(map(str, paths))
    if loras:
        return f"{key} is not finite with {', '.join(map(str, loras))} added to {files}: use a smaller --lora_scale."
    if dtype == "float16":
        return f"{key} of {files} is too large a number for float16: use --dtype bfloat16 or float32."
    return f"{key} is not finite in memory and finite in {files}: training has changed it; go back to an earlier checkpoint."


def _overflow(network, paths, loras, dtype: str) -> str:
    """Weights are finite; what is computed with them is not."""
    smaller = ", or use a smaller --lora_scale" if loras else ""
    added = f" with {', '.join(map(str, loras))} added" if loras else ""
    if dtype != "float32":
        weights = f"All weights{added} are finite, and it computes in {dtype}"
        return f"{weights}: use --dtype float32{_or_bfloat16(dtype)}{smaller}."
    files, remedy = ", ".join(map(str, paths)), "use a smaller --lora_scale, or leave it out" if loras else AGAIN
    return f"All weights of {files}{added} are finite, but too large to compute with in float32{_largest(network)}: {remedy}."


def _or_bfloat16(dtype: str) -> str:
    return " or bfloat16" if dtype == "float16" else ""


def _largest(network) -> str:
    """The largest weight in words, where there are any in memory."""
    if network is None:
        return ""
    sizes = {key: float(weight.abs().max()) for key, weight in _weights(network) if weight.size}
    key = max(sizes, key=sizes.get, default=None)
    return "" if key is None else f" (the largest, {sizes[key]:.3g}, is in {key})"
