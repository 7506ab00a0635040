"""The eight shapes, and one that training never shows, as outlines in the box [-1/2, 1/2]^2 (y down), and their masks in pixels."""

import math

import numpy as np
from PIL import Image, ImageDraw

SUPERSAMPLING = 4  # grid points per pixel and axis


def _circle(radius: float = 1.0, steps: int = 64) -> list:
    """Points of a circle around the origin, clockwise on the screen."""
    angles = np.linspace(0, 2 * math.pi, steps)
    return list(zip(radius * np.cos(angles), radius * np.sin(angles)))


def _star() -> list:
    radii = [1.0, 0.42] * 5
    angles = [math.radians(36 * index - 90) for index in range(10)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for radius, angle in zip(radii, angles)]


def _cross() -> list:
    quarter = [(1, 1), (1, 3), (-1, 3)]
    turned = [(-y, x) for x, y in quarter]
    return quarter + turned + [(-x, -y) for x, y in quarter] + [(-x, -y) for x, y in turned]


def _heart() -> list:
    t = np.linspace(0, 2 * math.pi, 96, endpoint=False)
    return list(zip(16 * np.sin(t) ** 3, -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))))


def _fitted(*outlines) -> tuple:
    """Outlines moved and scaled together: the first one's box is centred and its longer side is 1."""
    low, high = np.min(outlines[0], axis=0), np.max(outlines[0], axis=0)
    return tuple((np.array(outline, np.float64) - (low + high) / 2) / (high - low).max() for outline in outlines)


# Each: the outline to fill, then outlines to cut out again
OUTLINES = {
    "circle": _fitted(_circle()),
    "square": _fitted([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": _fitted([(0, -math.sqrt(3)), (1, 0), (-1, 0)]),
    "star": _fitted(_star()),
    "ring": _fitted(_circle(), _circle(0.55)),
    "cross": _fitted(_cross()),
    "heart": _fitted(_heart()),
    "diamond": _fitted([(0, -1), (0.72, 0), (0, 1), (-0.72, 0)]),
    "house": _fitted(
        [(0, -1), (1, -0.1), (0.75, -0.1), (0.75, 1), (-0.75, 1), (-0.75, -0.1), (-1, -0.1)],
        [(-0.2, 1), (-0.2, 0.35), (0.2, 0.35), (0.2, 1)],
    ),
}
NEW_SHAPES = ("house",)  # no scene to train on or to test with has them: they are for teaching a trained model
SHAPES = tuple(shape for shape in OUTLINES if shape not in NEW_SHAPES)


def coverage(shape: str, extent: float, x: float, y: float, width: int, height: int) -> np.ndarray:
    """How much of each pixel a shape covers, uint8 (height, width): longer side `extent`, box centred at (x, y), in pixels."""
    canvas = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING), 0)
    draw = ImageDraw.Draw(canvas)
    for outline, value in zip(OUTLINES[shape], (255, 0)):
        points = (outline * extent + (x, y)) * SUPERSAMPLING - 0.5  # to the coordinates of pixel centres
        draw.polygon([tuple(point) for point in points.tolist()], fill=value)
    return np.asarray(canvas.reduce(SUPERSAMPLING))
