"""What a picture shows, in the words of a scene: read from its pixels without knowing what was asked for.

The background is a plane fitted through the border; the objects are the connected regions that differ from it.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scipy import ndimage

from ldm.demo.scenes.matching import LIKE, best_shape, extent_of
from ldm.demo.scenes.palette import nearest, to_lab
from ldm.demo.scenes.scene import COLUMNS, ROWS, SIZES, Background

SIDE = 128  # pictures are read at this size
FRAME = 3  # pixels along the border that show background
OUTLIER = 2.5  # residuals beyond this many medians are no background
FOREGROUND = 18.0  # L*a*b* distance from the background that makes an object
SMALLEST = 0.003  # share of the picture below which a region is a speck
FLAT = 25.0  # L*a*b* distance of the ends below which a background is flat
EDGE = 4  # pixels that blur, and the smoothing of the segmentation, may have mixed with the background
FEWEST_CORE = 12  # pixels that an object's colour is taken from at least
THIRDS = (0.37, 0.63)  # between the centres that layout.py draws for left, middle and right


@dataclass(frozen=True)
class Sighting:
    """One object as seen; x, y, extent as fractions of the picture's side; likeness: overlap with the most similar shape."""

    shape: str | None  # None if the object resembles none
    colour: str
    size: str
    x: float
    y: float
    extent: float
    likeness: float

    @property
    def position(self) -> str:
        return f"{ROWS[_third(self.y)]} {COLUMNS[_third(self.x)]}"


@dataclass(frozen=True)
class Reading:
    """A picture's background and objects, largest first."""

    background: Background
    sightings: tuple


def _third(value: float) -> int:
    return int(np.searchsorted(THIRDS, value))


def size_word(extent: float) -> str:
    """The nearest size."""
    return min(SIZES, key=lambda name: abs(SIZES[name] - extent))


def relation(first: Sighting, second: Sighting) -> str:
    """Where the first object is as seen from the second, by the longer step between their centres."""
    right, down = first.x - second.x, first.y - second.y
    if abs(right) > abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"


def fit_background(pixels: np.ndarray) -> np.ndarray:
    """The plane colour = c0 + c1 x + c2 y through the border, x and y from 0 to 1: float (3, 3), rows c0, c1, c2.

    Objects that touch the border are left out as outliers.
    """
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    border = np.minimum.reduce([x, y, width - 1 - x, height - 1 - y]) < FRAME
    terms = np.stack([np.ones(border.sum()), x[border] / (width - 1), y[border] / (height - 1)], axis=1)
    colours = pixels[border].astype(np.float64)
    kept = np.ones(len(terms), bool)
    for _ in range(4):
        plane = np.linalg.lstsq(terms[kept], colours[kept], rcond=None)[0]
        residual = np.linalg.norm(colours - terms @ plane, axis=1)
        kept = residual <= max(OUTLIER * np.median(residual), 8.0)
    return plane


def paint_background(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """The fitted colours of every pixel, float (height, width, 3)."""
    x, y = np.linspace(0, 1, width)[None, :, None], np.linspace(0, 1, height)[:, None, None]
    return np.clip(plane[0] + x * plane[1] + y * plane[2], 0, 255)


def foreground(pixels: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Where the picture, slightly smoothed against noise, differs from its background: bool (H, W)."""
    smooth = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1)))
    return np.linalg.norm(to_lab(smooth) - to_lab(background), axis=-1) > FOREGROUND


def regions(mask: np.ndarray) -> list[np.ndarray]:
    """The 8-connected regions of a mask, largest first, specks left out: bool (H, W) each."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    found = (labels == number for number in range(1, count + 1))
    return sorted((region for region in found if region.sum() >= SMALLEST * mask.size), key=np.sum, reverse=True)


def _name_background(plane: np.ndarray) -> Background:
    across, down = np.array([[0, 0.5], [1, 0.5]]), np.array([[0.5, 0], [0.5, 1]])
    ends = {name: plane[0] + points @ plane[1:] for name, points in (("horizontal", across), ("vertical", down))}
    fades = {name: np.linalg.norm(np.subtract(*to_lab(pair))) for name, pair in ends.items()}
    direction = max(fades, key=fades.get)
    if fades[direction] < FLAT:
        return Background((nearest(plane[0] + plane[1:].sum(0) / 2),))
    return Background(tuple(nearest(end) for end in ends[direction]), direction)


def _core(region: np.ndarray) -> np.ndarray:
    """A region without its edge: up to EDGE pixels peeled off, as long as enough pixels remain."""
    for _ in range(EDGE):
        peeled = ndimage.binary_erosion(region, np.ones((3, 3)))
        if peeled.sum() < FEWEST_CORE:
            break
        region = peeled
    return region


def _sight(pixels: np.ndarray, background: np.ndarray, region: np.ndarray) -> Sighting:
    # Colour: the median of the pixels away from the edge
    colour = np.median(pixels[_core(region)], axis=0)

    # Coverage: how far each pixel is from background to object
    step = colour - background
    alpha = ((pixels - background) * step).sum(-1) / np.maximum((step**2).sum(-1), 1)
    alpha = np.clip(alpha, 0, 1) * region

    # Place: the box of what is at least half covered
    rows, columns = (np.nonzero((alpha >= 0.5).any(axis))[0] for axis in (1, 0))
    if not len(rows):
        rows, columns = (np.nonzero(region.any(axis))[0] for axis in (1, 0))
    left, right, top, bottom = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    x, y = (left + right) / 2, (top + bottom) / 2

    # Shape and size
    shape, likeness = best_shape(alpha, (x, y, max(right - left, bottom - top)))
    extent = extent_of(shape, alpha.sum()) / SIDE
    return Sighting(
        shape if likeness >= LIKE else None, nearest(colour), size_word(extent), x / SIDE, y / SIDE, extent, likeness
    )


def read(image: np.ndarray) -> Reading:
    """What an image shows. image: uint8 (H, W, 3) of any size; it is read at SIDE x SIDE pixels."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"An image is uint8 (H, W, 3), not {image.dtype} {image.shape}.")
    if image.shape[:2] != (SIDE, SIDE):
        image = np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    plane = fit_background(image)
    background = paint_background(plane, SIDE, SIDE)
    found = regions(foreground(image, background))
    pixels = image.astype(np.float64)
    return Reading(_name_background(plane), tuple(_sight(pixels, background, region) for region in found))
