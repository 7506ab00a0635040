"""Where exactly the objects of a scene are: drawn from the scene's own seed, inside what its words allow.

Centres lie on a lattice: half a ninth, one and a half, ... of the picture's side, which are the centres of the cells of a
384-px picture's latent. What an object looks like in the latent is then the same wherever it is, and words explain half of
it linearly; on twelfths, with sixteen ways to lie to the cells, they explain a fifth.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np

from ldm.demo.scenes.scene import COLUMNS, ROWS, SIZES, Scene, choice

LATTICE = tuple((index + 0.5) / 9 for index in range(9))
MARGIN = 0.02  # least distance of an object to the border
GAP = 0.05  # least distance of two objects along their relation
NEAR = 0.3  # centres up to here are "left" or "top", mirrored "right" or "bottom"
MIDDLE = (0.45, 0.55)
SLANT = 0.4  # "left of": at most this much up or down per step to the side


@dataclass(frozen=True)
class Box:
    """Centre and longer side as fractions of the picture's side; the object lies within this square."""

    x: float
    y: float
    extent: float


def _inside(extent: float) -> list[float]:
    """The centres at which an object keeps its distance to the border."""
    reach = MARGIN + extent / 2
    return [centre for centre in LATTICE if reach <= centre <= 1 - reach]


def _along(rng, index: int, extent: float) -> float:
    """The centre of a single object in the first, second or third part of an axis."""
    if index == 1:
        return choice(rng, [centre for centre in LATTICE if MIDDLE[0] <= centre <= MIDDLE[1]])
    near = choice(rng, [centre for centre in _inside(extent) if centre <= NEAR])
    return near if index == 0 else 1 - near


def _pair(rng, first: float, second: float) -> tuple[tuple, tuple]:
    """Centres of two extents along their relation and across it; the first comes first."""
    pairs = list(product(_inside(first), _inside(second)))
    along = choice(rng, [(one, two) for one, two in pairs if two - one >= GAP + (first + second) / 2])
    reach = SLANT * (along[1] - along[0])
    return along, choice(rng, [(one, two) for one, two in pairs if abs(two - one) <= reach])


def layout(scene: Scene) -> list[Box]:
    """One box per object, the same for the same scene at every picture size."""
    rng = np.random.default_rng(scene.seed)
    extents = [SIZES[item.size] for item in scene.items]
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
