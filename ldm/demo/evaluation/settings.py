"""What an evaluation is: prompts, sizes, sampling, the names of its parts, and how one forbids the others. No package is
needed to read this."""

from dataclasses import asdict, dataclass

from ldm.generation.request import MOST_IMAGES, MOST_PROMPTS, MOST_STEPS, check_count, check_guidance, check_image_seed
from ldm.sizes import MINIMUM, check_size

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
        check_count("--batch_size", self.batch_size, MOST_IMAGES)
        for name in ("count", "grid_count"):
            check_count(f"--{name}", getattr(self, name), MOST_PROMPTS)
        for name in ("steps", "decoder_steps"):
            check_count(f"--{name}", getattr(self, name), MOST_STEPS)
        for name in ("seed", "scene_seed"):
            check_image_seed(f"--{name}", getattr(self, name), 2 * self.count)  # the part `seeds` counts on
        for name in ("cfg", "decoder_cfg"):
            check_guidance(f"--{name}", getattr(self, name))
        if self.size < MINIMUM or self.size % SIDE_MULTIPLE:
            raise ValueError(
                f"--size {self.size} is unsuitable: give {MINIMUM} or more, a multiple of {SIDE_MULTIPLE}."
            )
        check_size(self.size, self.size)

    def as_dict(self) -> dict:
        return asdict(self)


def check_parts(names) -> list[str]:
    """The parts to measure, each once, in the order of PARTS; ValueError for an unknown one."""
    for name in names:
        if name not in PARTS:
            raise ValueError(f"--parts {name!r} is unknown: choose from {', '.join(PARTS)}.")
    return [name for name in PARTS if name in names]


class Untrustworthy(Exception):
    """A measurement that forbids all further ones. Not an input error: the command exits with 1 instead of 2."""
