"""ModelC: the prior with what surrounds it. Captions -> latents for generation, images -> loss for training."""

import paddle

from ldm.adapters.adapter import Adapter
from ldm.adapters.files import LoraFile
from ldm.common.precision import float32_region
from ldm.conditions import EncodedCaptions, prior_conditions
from ldm.diffusion.noise import image_seeds
from ldm.diffusion.sampling import SamplingSettings
from ldm.features import PriorFeatures, encode_images
from ldm.generation.request import MOST_STEPS, check_count, check_guidance, check_image_seed
from ldm.generation.sampling import caption_batch, check_batch, run_sampling, sampling_settings, to_uint8
from ldm.modes import text
from ldm.modes.mode import SamplingInputs
from ldm.sizes import check_size, prior_grid
from ldm.stage import CascadeStage
from ldm.weights.blame import check_finite


def prior_sampling(steps=20, cfg=4.0, sampler="ddpm", shift=2.0) -> SamplingSettings:
    """How the prior samples; by default as in the release."""
    return sampling_settings(steps, cfg, sampler, shift)


class ModelC(CascadeStage):
    """Stage C, called the prior. version: "1B" or "3.6B"; the other arguments are CascadeStage's."""

    kind = "stage_c"
    features = PriorFeatures()

    @property
    def image_width(self) -> int:
        """Width of the CLIP image embeddings the UNet takes."""
        return self.unet.clip_img_mapper.weight.shape[0]

    def encode(self, images):
        """Images (B, 3, H, W) in [0, 1] -> latents (B, 16, ceil(H / 32), ceil(W / 32))."""
        return encode_images(self.frozen, images)

    # LoRA -------------------------------------------------------------------------------------------------------

    def load_lora(self, path, scale: float = 1.0) -> LoraFile:
        """Merge a LoRA file, times `scale`, and its learned tokens; see `Adapters.load`."""
        return self.adapters.load(path, scale)

    def unload_loras(self):
        """UNet and text tower as their files have them."""
        self.adapters.unload()

    @property
    def loaded_loras(self) -> tuple:
        """(path, scale) of every LoRA that is merged."""
        return self.adapters.loaded

    def adapt(self, tokens=(), train_unet: bool = False, **lora) -> Adapter:
        """Train a LoRA and learned tokens, as `lora.*` of the state dict; see `Adapters.train`."""
        self.lora = self.adapters.train(tokens, train_unet, **lora)
        return self.lora

    # Training ---------------------------------------------------------------------------------------------------

    def encode_batch(
        self, images, input_ids, attention_mask, clip_pixels, caption_dropped, image_used, t, epsilon
    ) -> dict:
        """A batch of images and what is drawn for it -> arguments of `forward`; shapes as in `PriorFeatures`."""
        batch = images, input_ids, attention_mask, clip_pixels, caption_dropped, image_used
        return {**self.features.encode_batch(self.frozen, *batch), "t": t, "epsilon": epsilon}

    def forward(self, latents, text_embeds, pooled, image_embeds, t, epsilon):
        """One training batch of features -> the loss (), float32, to be differentiated.

        latents and their noise epsilon (B, 16, h, w); t (B,) times; text_embeds (B, L, c); pooled (B, 1, c'); image_embeds
        (B, 1, c'').
        """
        conditions = prior_conditions(text_embeds, pooled, image_embeds)
        return self.training_loss(latents, conditions, t, epsilon).loss

    # Sampling ---------------------------------------------------------------------------------------------------

    def sample(
        self, captions, height=1024, width=1024, cfg=4.0, seeds=(0,), steps=20, sampler="ddpm", shift=2.0, progress=True
    ):
        """One latent per caption: (B, 16, ceil(height / 42.67), ceil(width / 42.67)), float32.

        captions: B texts, or what `encode_captions` made of them. Image i depends on captions[i] and seeds[i] alone.
        cfg: guidance scale, or (at t = 1, at t = 0). ValueError for what cannot be honoured, FloatingPointError, which names
        the file to blame, where a number is not finite.
        """
        check_size(height, width)
        check_guidance("cfg", cfg)
        check_count("steps", steps, MOST_STEPS)
        captions = self.encoded(captions)
        check_batch(captions, seeds)
        settings = prior_sampling(steps, cfg, sampler, shift)
        return self.sample_inputs(self.inputs(captions), height, width, seeds, settings, progress)

    def inputs(self, captions: EncodedCaptions) -> SamplingInputs:
        """What text alone is sampled from."""
        return text.prior_inputs(captions, self.image_width)

    def sample_inputs(self, inputs: SamplingInputs, height, width, seeds, settings: SamplingSettings, progress=True):
        """Latents (B, 16, ceil(height / 42.67), ceil(width / 42.67)), float32, of what the modes made of a request."""
        shape = (self.unet.c_in, *prior_grid(height, width))
        with self.evaluating():
            return run_sampling(self.denoiser, inputs, shape, seeds, "Stage C", settings, progress, self.blame)

    def log_image(self, caption, height=1024, width=1024, cfg=4.0, batch_size=1, seed=0, steps=20, progress=True):
        """Previews of `batch_size` images: (uint8 (B, H', W', 3) at about 1/5 of the size, latents).

        Image i is that of seed + i. The previews come from the previewer; ModelB.log_image makes the full images.
        """
        captions = caption_batch(caption, batch_size)
        check_image_seed("seed", seed, batch_size)
        seeds = image_seeds(seed, batch_size)
        latents = self.sample(captions, height, width, cfg, seeds, steps, progress=progress)
        return self.preview(latents), latents

    @paddle.no_grad()
    def preview(self, latents):
        """Latents (B, 16, h, w) -> uint8 previews (B, 8 h, 8 w, 3); FloatingPointError where either is not finite."""
        check_finite(latents, "The latent to be previewed", str)
        with float32_region():
            images = self.frozen.previewer(latents.astype("float32"))
        return to_uint8(images, "Previewer: the preview", lambda: self.frozen.blame("previewer"))
