"""Everything but caption and weights that decides an image, checked before a weight is read."""

from dataclasses import asdict, dataclass

from ldm.generation.limits import MOST_IMAGES, MOST_STEPS, check_count, check_guidance, check_image_seed
from ldm.sizes import check_size


@dataclass(frozen=True)
class GenerationSettings:
    """Sizes in pixels, seed of the first image, steps and guidance of prior and decoder; stored in the PNG."""

    height: int = 1024
    width: int = 1024
    seed: int = 0
    steps: int = 20
    cfg: float = 4.0
    decoder_steps: int = 10
    decoder_cfg: float = 1.1

    def check(self, batch_size: int):
        """ValueError, which names value and bound, for anything that cannot be honoured. Memory is another question."""
        check_size(self.height, self.width)
        check_count("batch_size", batch_size, MOST_IMAGES)
        for name in ("steps", "decoder_steps"):
            check_count(name, getattr(self, name), MOST_STEPS)
        for name in ("cfg", "decoder_cfg"):
            check_guidance(name, getattr(self, name))
        check_image_seed("seed", self.seed, batch_size)

    def as_dict(self) -> dict:
        return asdict(self)
