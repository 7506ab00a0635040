"""What an evaluation is: prompts, sizes, sampling, and the names of its parts. No package is needed to read this."""

import math
from dataclasses import asdict, dataclass

from ldm.sizes import MINIMUM

PARTS = (
    "judge",
    "prompts",
    "grid",
    "reconstruction",
    "previewer",
    "clip",
    "words",
    "seeds",
    "concept",
)  # in the order they are measured
SIDE_MULTIPLE = 8  # Stage A encodes whole pictures: nothing may have to be cropped


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything but the weights that decides the numbers; the names are those of the flags."""

    count: int = 200  # held-out prompts, and true pictures of them
    size: int = 256  # pixels
    seed: int = 0  # generated image i uses seed + i
    scene_seed: int = 0  # which held-out scenes
    steps: int = 20
    cfg: float = 4.0
    decoder_steps: int = 10
    decoder_cfg: float = 1.1
    batch_size: int = 16
    grid_count: int = 48  # prompts for every cell of the grid, and of the new concept

    def check(self):
        """ValueError for anything that cannot be honoured, before a weight is read."""
        for name in ("count", "steps", "decoder_steps", "batch_size", "grid_count"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} is too few: give 1 or more.")
        for name in ("seed", "scene_seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} {getattr(self, name)} is negative: give 0 or more.")
        for name in ("cfg", "decoder_cfg"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(
                    f"--{name} {getattr(self, name)} is no number: give one such as 4.0; 1 switches it off."
                )
        if self.size < MINIMUM or self.size % SIDE_MULTIPLE:
            raise ValueError(
                f"--size {self.size} is unsuitable: give {MINIMUM} or more, a multiple of {SIDE_MULTIPLE}."
            )

    def as_dict(self) -> dict:
        return asdict(self)


def check_parts(names) -> list[str]:
    """The parts to measure, each once, in the order of PARTS; ValueError for an unknown one."""
    for name in names:
        if name not in PARTS:
            raise ValueError(f"--parts {name!r} is unknown: choose from {', '.join(PARTS)}.")
    return [name for name in PARTS if name in names]
