"""A picture taken apart: the fitted background, and the connected regions that differ from it."""

import numpy as np
from PIL import Image, ImageFilter

from ldm.demo.scenes.palette import to_lab

FRAME = 3  # pixels along the border that show background
OUTLIER = 2.5  # residuals beyond this many medians are no background
FOREGROUND = 18.0  # L*a*b* distance from the background that makes an object
SMALLEST = 0.003  # share of the picture below which a region is a speck


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


def _runs(mask: np.ndarray):
    """(row, start, stop) of the unbroken stretches of every row, from the top."""
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    return list(zip(rows.tolist(), starts.tolist(), np.nonzero(steps == -1)[1].tolist()))


def regions(mask: np.ndarray) -> list[np.ndarray]:
    """The 8-connected regions of a mask, largest first, specks left out: bool (H, W) each."""
    runs = _runs(mask)
    parent = list(range(len(runs)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    above = 0  # the first run of the row above that can still touch
    for index, (row, start, stop) in enumerate(runs):
        while above < index and (runs[above][0] < row - 1 or (runs[above][0] == row - 1 and runs[above][2] < start)):
            above += 1
        other = above
        while other < index and runs[other][0] == row - 1 and runs[other][1] <= stop:
            parent[root(other)] = root(index)
            other += 1
    found = {}
    for index, (row, start, stop) in enumerate(runs):
        found.setdefault(root(index), np.zeros(mask.shape, bool))[row, start:stop] = True
    large = [region for region in found.values() if region.sum() >= SMALLEST * mask.size]
    return sorted(large, key=np.sum, reverse=True)
