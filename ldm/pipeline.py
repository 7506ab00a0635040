"""StableCascade: text -> prior -> decoder -> autoencoder -> images, in one object."""

import math
from dataclasses import asdict, dataclass

import config
from ldm.diffusion.noise import check_seed, image_seeds
from ldm.frozen import open_release
from ldm.generation import caption_batch
from ldm.model_b import ModelB
from ldm.model_c import ModelC
from ldm.release import Release, output_size
from ldm.sizes import check_size


@dataclass(frozen=True)
class GenerationSettings:
    """Everything but caption and weights that decides an image; stored in the PNG."""

    height: int = 1024
    width: int = 1024
    seed: int = 0
    steps: int = 20
    cfg: float = 4.0
    decoder_steps: int = 10
    decoder_cfg: float = 1.1

    def check(self, batch_size: int):
        """ValueError for anything that cannot be honoured, before a weight is read."""
        check_size(self.height, self.width)
        for name, value in (("batch_size", batch_size), ("steps", self.steps), ("decoder_steps", self.decoder_steps)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        check_seed(self.seed)

    def as_dict(self) -> dict:
        return asdict(self)


def native_size(release_folder, prior_version=None, prior_path=None) -> int:
    """The image size in pixels that a prior was trained for: the sensible default. Reads a file's header only."""
    version = prior_version or config.model_c_version
    return output_size(prior_path or Release(release_folder).file("stage_c", version))


class StableCascade:
    """Prior and decoder over one set of frozen towers.

    Without arguments it reads config.py. prior_path: a fine-tuned prior instead of the release's.
    """

    def __init__(self, weights_path=None, prior_version=None, decoder_version=None, dtype=None, prior_path=None):
        frozen, dtype = open_release(weights_path, dtype)
        self.prior = ModelC(weights_path, prior_version, dtype, unet_path=prior_path, frozen=frozen)
        self.decoder = ModelB(weights_path, decoder_version, dtype, frozen=frozen)

    def identity(self) -> dict:
        """Which weights and precision made an image, for its metadata."""
        dtype = str(self.prior.unet.dtype).rsplit(".", 1)[-1]
        return {"prior": str(self.prior.unet_path), "decoder": str(self.decoder.unet_path), "dtype": dtype}

    def describe(self) -> str:
        """One line for people: the networks in use."""
        sizes = [sum(math.prod(p.shape) for p in stage.unet.parameters()) for stage in (self.prior, self.decoder)]
        identity = self.identity()
        return (
            f"prior {identity['prior']} ({sizes[0] / 1e6:,.1f}M), decoder {identity['decoder']} ({sizes[1] / 1e6:,.1f}M), "
            f"{identity['dtype']}"
        )

    def __call__(self, caption, batch_size=1, settings=GenerationSettings(), progress=True):
        """`batch_size` images of one caption, or one of each of a list: uint8 (B, height, width, 3).

        Image i is the one that `settings.seed + i` gives on its own.
        """
        s = settings
        captions, seeds = caption_batch(caption, batch_size), image_seeds(s.seed, batch_size)
        latent = self.prior.sample(captions, s.height, s.width, s.cfg, seeds, s.steps, progress=progress)
        images, _ = self.decoder.log_image(
            latent, captions, s.height, s.width, s.decoder_cfg, batch_size, s.seed, s.decoder_steps, progress
        )
        return images
