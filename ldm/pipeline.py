"""StableCascade: text -> prior -> decoder -> autoencoder -> images, in one object."""

import math
from dataclasses import asdict, dataclass

import config
from ldm.compiled_cache import default_folder
from ldm.conditions import encode_captions
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


def native_size(release_folder, prior_version=None, prior_path=None, lora_path=None) -> int:
    """The image size in pixels that a prior, or its LoRA, was trained for: the sensible default. Reads headers only."""
    version = prior_version or config.model_c_version
    size = output_size(prior_path or Release(release_folder).file("stage_c", version))
    return output_size(lora_path, size) if lora_path else size


class StableCascade:
    """Prior and decoder over one set of frozen towers.

    Without arguments it reads config.py. prior_path: a fine-tuned prior instead of the release's.
    """

    def __init__(self, weights_path=None, prior_version=None, decoder_version=None, dtype=None, prior_path=None):
        self.frozen, dtype = open_release(weights_path, dtype)
        self.prior = ModelC(weights_path, prior_version, dtype, unet_path=prior_path, frozen=self.frozen)
        self.decoder = ModelB(weights_path, decoder_version, dtype, frozen=self.frozen)

    def load_lora(self, path, scale: float = 1.0):
        """Merge a LoRA of the prior, times `scale`, and its learned tokens, which the decoder's captions know then too.

        Several may be loaded after one another. ValueError, naming every key, for a LoRA of a prior of another size.
        """
        self.prior.load_lora(path, scale)

    def unload_loras(self):
        """Prior and text tower as their files have them."""
        self.prior.unload_loras()

    def compile(self, folder=None, keep_weights: bool = True):
        """Generate by compiled programs from now on (CPU, float32), kept in `folder`, by default the user's cache.

        The first image of a size and batch size takes longer, and its programs the disk space of the weights, once.
        LoRAs are loaded before. keep_weights False saves memory where everything is of one size: see `ldm.compiled`.
        """
        folder = default_folder() if folder is None else folder
        for stage in (self.prior, self.decoder):
            stage.compile(folder, keep_weights)

    def identity(self) -> dict:
        """Which weights and precision made an image, for its metadata."""
        dtype = str(self.prior.unet.dtype).rsplit(".", 1)[-1]
        loras = {"lora": [f"{path} x {scale:g}" for path, scale in self.prior.loaded_loras]}
        files = {"prior": str(self.prior.unet_path), "decoder": str(self.decoder.unet_path)}
        return {**files, **(loras if loras["lora"] else {}), "dtype": dtype}

    def describe(self) -> str:
        """One line for people: the networks in use."""
        sizes = [sum(math.prod(p.shape) for p in stage.unet.parameters()) for stage in (self.prior, self.decoder)]
        identity = self.identity()
        loras = "".join(f" with LoRA {lora}" for lora in identity.get("lora", []))
        return (
            f"prior {identity['prior']} ({sizes[0] / 1e6:,.1f}M){loras}, decoder {identity['decoder']} ({sizes[1] / 1e6:,.1f}M), "
            f"{identity['dtype']}{', compiled' if self.prior.compiled else ''}"
        )

    def __call__(self, caption, batch_size=1, settings=GenerationSettings(), progress=True):
        """`batch_size` images of one caption, or one of each of a list: uint8 (B, height, width, 3).

        Image i is the one that `settings.seed + i` gives on its own.
        """
        s = settings
        seeds = image_seeds(s.seed, batch_size)
        captions = encode_captions(self.frozen, caption_batch(caption, batch_size))
        latent = self.prior.sample(captions, s.height, s.width, s.cfg, seeds, s.steps, progress=progress)
        images, _ = self.decoder.log_image(
            latent, captions, s.height, s.width, s.decoder_cfg, batch_size, s.seed, s.decoder_steps, progress
        )
        return images
