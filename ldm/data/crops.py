"""Where an image is cut: in the middle, anywhere, or where most is to be seen."""

import numpy as np
from PIL import Image

CROPS = ("centre", "random", "smart")
SMALL = 128  # longest side of what smart crops are decided on
CENTRE_PULL = 0.05  # how much a window at the border loses against one in the middle


def check_crop(crop: str, flag: str = "--crop"):
    """ValueError for an unknown kind of crop."""
    if crop not in CROPS:
        raise ValueError(f"{flag} must be {', '.join(CROPS[:-1])} or {CROPS[-1]}, got {crop!r}.")


def place_crop(image: Image.Image, size: tuple[int, int], crop: str, rng=None) -> tuple[int, int]:
    """Left and top of the (width, height) window of an image; random ones are uniform draws from `rng`."""
    slack = [side - wanted for side, wanted in zip(image.size, size)]
    if crop == "random" and rng is not None:
        return tuple(int(rng.integers(0, rest + 1)) for rest in slack)
    if crop == "smart":
        return smart_place(image, size)
    return tuple(rest // 2 for rest in slack)


def smart_place(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the window with the most detail.

    Detail is the strength of edges (brightness gradient) plus colourfulness (HSV saturation times value), summed over
    the window on a copy of at most 128 px; the middle wins among equals. The release uses the smartcrop package, which
    also looks for skin and weighs by the rule of thirds; this looks for neither.
    """
    detail = _detail(image)
    return tuple(_best_window(detail.sum(axis), side, wanted) for axis, side, wanted in zip((0, 1), image.size, size))


def _detail(image: Image.Image) -> np.ndarray:
    """(h, w) of a small copy: how much there is to see."""
    scale = SMALL / max(image.size)
    small = image.resize([max(2, round(side * min(1, scale))) for side in image.size], Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"), np.float64) / 255
    rows, columns = np.gradient(grey)
    hsv = np.asarray(small.convert("HSV"), np.float64) / 255
    return np.hypot(rows, columns) + 0.1 * hsv[..., 1] * hsv[..., 2]


def _best_window(detail: np.ndarray, side: int, wanted: int) -> int:
    """Start of the window of `wanted` of `side` pixels with the most of `detail`, given along a small copy (n,)."""
    slack = side - wanted
    if slack == 0:
        return 0
    sums = np.interp(np.arange(side + 1) * len(detail) / side, np.arange(len(detail) + 1), np.cumsum([0, *detail]))
    starts = np.arange(slack + 1)
    inside = sums[starts + wanted] - sums[starts]
    off_centre = np.abs(starts - slack / 2) / (slack / 2)
    return int(np.argmax(inside * (1 - CENTRE_PULL * off_centre) - 1e-9 * off_centre))
