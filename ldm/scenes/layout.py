"""Where exactly the objects of a scene are: drawn from the scene's own seed, inside what its words allow."""

from dataclasses import dataclass

import numpy as np

from ldm.scenes.scene import COLUMNS, ROWS, SIZES, Scene

MARGIN = 0.03  # least distance of an object to the border
GAP = 0.05  # least distance of two objects along their relation
NEAR = 0.29  # centres up to here are "left" or "top", mirrored "right" or "bottom"
MIDDLE = (0.45, 0.55)
SLANT = 0.4  # "left of": at most this much up or down per step to the side


@dataclass(frozen=True)
class Box:
    """Centre and longer side as fractions of the picture's side; the object lies within this square."""

    x: float
    y: float
    extent: float


def _along(rng, index: int, extent: float) -> float:
    """The centre of a single object in the first, second or third part of an axis."""
    if index == 1:
        return rng.uniform(*MIDDLE)
    near = rng.uniform(MARGIN + extent / 2, NEAR)
    return near if index == 0 else 1 - near


def _pair(rng, first: float, second: float) -> tuple[list, list]:
    """Centres of two extents along their relation and across it; the first comes first."""
    free = 1 - 2 * MARGIN - GAP - first - second
    before, after = np.sort(rng.uniform(0, free, 2))
    along = [MARGIN + first / 2 + before, MARGIN + first + GAP + second / 2 + after]
    reach = SLANT * (along[1] - along[0])
    across = rng.uniform(MARGIN + first / 2, 1 - MARGIN - first / 2)
    low = max(MARGIN + second / 2, across - reach)
    high = min(1 - MARGIN - second / 2, across + reach)
    return along, [across, rng.uniform(low, high)]


def layout(scene: Scene) -> list[Box]:
    """One box per object, the same for the same scene at every picture size."""
    rng = np.random.default_rng(scene.seed)
    extents = [rng.uniform(*SIZES[item.size]) for item in scene.items]
    if len(extents) == 1:
        row, column = scene.place.split()
        return [
            Box(_along(rng, COLUMNS.index(column), extents[0]), _along(rng, ROWS.index(row), extents[0]), extents[0])
        ]
    backwards = scene.place in ("right of", "below")
    along, across = _pair(rng, *(extents[::-1] if backwards else extents))
    if backwards:
        along, across = along[::-1], across[::-1]
    xs, ys = (along, across) if scene.place in ("left of", "right of") else (across, along)
    return [Box(*box) for box in zip(xs, ys, extents)]
