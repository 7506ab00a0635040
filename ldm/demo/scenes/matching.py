"""Which of the shapes an object's coverage looks like, and how large it is: soft overlap with rendered templates."""

import math
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from ldm.demo.scenes.shapes import OUTLINES, coverage

GRID = 32  # pixels of the normalised object's longer side
BORDER = 4  # pixels around it, for what blur and a wrong box push out
SIDE = GRID + 2 * BORDER
SCALES = (0.92, 1.0, 1.08, 1.2)  # of the object in its box; a blurred star loses its tips: its box is too small
BLURS = (0.0, 1.0, 2.0)  # in grid pixels
STRETCHES = (
    (1.0, 1.0),
    (0.85, 1.0),
    (1.0, 0.85),
)  # of the window in x and y: a generator's square may be a little flat
LIKE = 0.6  # overlap below which an object is none of the shapes; renders blurred by 1.5 pixels stay above 0.7


@lru_cache(maxsize=None)
def _templates() -> tuple[list, np.ndarray]:
    """Shape names and their pictures, (N, SIDE * SIDE) in [0, 1]: every shape at several scales and blurs."""
    names, pictures = [], []
    for shape in OUTLINES:
        for scale in SCALES:
            sharp = Image.fromarray(coverage(shape, GRID * scale, SIDE / 2, SIDE / 2, SIDE, SIDE))
            for blur in BLURS:
                names.append(shape)
                pictures.append(np.asarray(sharp.filter(ImageFilter.GaussianBlur(blur)), np.float32).ravel() / 255)
    return names, np.stack(pictures)


def best_shape(alpha: np.ndarray, box: tuple) -> tuple[str, float]:
    """The most similar shape and their soft intersection over union.

    alpha: coverage (H, W) in [0, 1]; box: x and y of its centre and its longer side, in pixels.
    """
    x, y, extent = box
    whole = Image.fromarray(alpha.astype(np.float32))
    names, pictures = _templates()
    overlaps = []
    for stretch in STRETCHES:
        across, down = (extent / 2 * SIDE / GRID * factor for factor in stretch)
        window = (x - across, y - down, x + across, y + down)
        seen = np.asarray(
            whole.transform((SIDE, SIDE), Image.Transform.EXTENT, window, Image.Resampling.BILINEAR)
        ).ravel()
        common = np.minimum(pictures, seen).sum(1)
        overlaps.append(common / (pictures.sum(1) + seen.sum() - common))  # the union is the sum without what is common
    overlap = np.max(overlaps, axis=0)
    return names[int(overlap.argmax())], float(overlap.max())


@lru_cache(maxsize=None)
def area(shape: str) -> float:
    """The area of a shape whose longer side is 1."""
    return float(coverage(shape, 256, 128, 128, 256, 256).mean() / 255)


def extent_of(shape: str, covered: float) -> float:
    """The longer side of a shape that covers `covered` pixels: unlike its box it does not shrink with blur."""
    return math.sqrt(covered / area(shape))
