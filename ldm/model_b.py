"""ModelB: the decoder with what surrounds it. The prior's latents -> finished images, images -> loss for training."""

import paddle

from ldm.common.precision import float32_region
from ldm.conditions import EncodedCaptions, decoder_conditions, noised_latents, without
from ldm.diffusion.noise import image_seeds
from ldm.diffusion.sampling import SamplingSettings
from ldm.features import DecoderFeatures, crop_at_corners, encode_for_decoder
from ldm.generation.request import MOST_STEPS, check_count, check_guidance, check_image_seed
from ldm.generation.sampling import caption_batch, check_batch, run_sampling, sampling_settings, to_uint8
from ldm.modes import text
from ldm.modes.mode import SamplingInputs
from ldm.networks.layers.resample import resize
from ldm.sizes import AUTOENCODER_FACTOR, centre_crop, check_size, decoder_grid, image_size_of_grid
from ldm.stage import CascadeStage
from ldm.weights.blame import check_finite


def decoder_sampling(steps=10, cfg=1.1, sampler="ddpm", shift=1.0) -> SamplingSettings:
    """How the decoder samples; by default as in the release."""
    return sampling_settings(steps, cfg, sampler, shift)


class ModelB(CascadeStage):
    """Stage B, called the decoder, and Stage A behind it. version: "700M" or "3B"; else as CascadeStage."""

    kind = "stage_b"
    features = DecoderFeatures()  # training may set another

    @property
    def encoder(self):
        """The semantic encoder in use: the one that is trained along, `effnet.*` of the state dict, else the frozen one."""
        return self.effnet if "effnet" in self._sub_layers else self.frozen.effnet

    def encode(self, images):
        """Images (B, 3, H, W) in [0, 1], sides divisible by 8 -> Stage A latents (B, 4, H / 4, W / 4)."""
        return encode_for_decoder(self.frozen, images)

    @paddle.no_grad()
    def decode(self, latents):
        """Stage A latents (B, 4, h, w) -> images (B, 3, 4 h, 4 w), nominally in [0, 1]."""
        with float32_region():
            return self.frozen.stage_a.decode(latents.astype("float32"))

    @paddle.no_grad()
    def small_image(self, latent_c, size):
        """What a decoder that `sees_preview` gets as `pixels` for the prior's latent (B, 16, h, w): its preview in [-1, 1],
        laid over a latent of `size` (H, W); None for others.

        Cells of the prior's latent and positions of the decoder never coincide (3 to 32 in either direction), and the release
        stretches one over the other. A large decoder learns to see through that; a small one is better shown where things
        are, in the input that the release's architecture has for a small image.
        """
        if not self.unet.sees_preview:
            return None
        with float32_region():
            preview = 2 * self.frozen.previewer(latent_c.astype("float32")) - 1
            return resize(preview, [side // self.unet.patch_size for side in size])

    # Training ---------------------------------------------------------------------------------------------------

    def train_encoder(self) -> dict:
        """Train the semantic encoder along, no longer the frozen one; its constructor arguments."""
        self.effnet, config = self.frozen.encoder_to_train()
        return config

    def encode_batch(
        self,
        images,
        input_ids,
        attention_mask,
        caption_dropped,
        encoder_dropped,
        encoder_noise,
        t,
        epsilon,
        corners=None,
    ) -> dict:
        """A batch of images and what is drawn for it -> arguments of `forward`; shapes as in `DecoderFeatures`.

        encoder_noise says by its size at which scale the encoder sees the images. corners (B, 2): train on the crops with
        these top left corners, in pixels; their side is 4 times epsilon's. The encoder sees the whole images.
        """
        batch, cells, side = (images, input_ids, attention_mask), encoder_noise.shape[2:], self.pixels(epsilon)
        features = self.features.encode_batch(
            self.frozen, *batch, caption_dropped, cells, corners, side, encoder=self.encoder
        )
        drawn = {"encoder_dropped": encoder_dropped, "encoder_noise": encoder_noise, "t": t, "epsilon": epsilon}
        return {**features, **drawn, "corners": corners}

    def forward(self, decoder_latents, latents, pooled, size, encoder_dropped, encoder_noise, t, epsilon, corners=None):
        """One training batch of features -> the loss (), float32, to be differentiated.

        decoder_latents, Stage A's, and their noise epsilon (B, 4, h, w); t (B,) times; pooled (B, 1, c). latents, the semantic
        encoder's of whole images of `size` (H, W) pixels, and what is added to them, encoder_noise (B, 16, h', w'): zero
        together where encoder_dropped (B,). corners (B, 2) of the squares in those images that decoder_latents are of.
        """
        with float32_region():  # also where the encoder is trained
            latent_c = noised_latents(latents, encoder_dropped, encoder_noise)
        conditions = self.training_conditions(pooled, latent_c, encoder_dropped, size, corners, self.pixels(epsilon))
        return self.training_loss(decoder_latents, conditions, t, epsilon).loss

    @staticmethod
    def pixels(latents) -> int:
        """Height of the images that Stage A latents (B, 4, h, w) are of."""
        return AUTOENCODER_FACTOR * latents.shape[2]

    def training_conditions(self, pooled, latent_c, encoder_dropped, size, corners, crop: int) -> dict:
        """Stage B's conditions for images of `size` (H, W) pixels, or their squares of `crop` pixels at `corners`.

        pooled (B, 1, c); latent_c (B, 16, h, w) of whole images, zero where `encoder_dropped` (B,), which leaves out its
        preview as well.
        """
        pixels = self.small_image(latent_c, [side // AUTOENCODER_FACTOR for side in size])
        if pixels is not None:
            pixels = without(pixels, encoder_dropped)
        if corners is not None:
            latent_c = self.cut_condition(latent_c, size, corners, crop)
            pixels = None if pixels is None else self.cut_condition(pixels, size, corners, crop)
        return decoder_conditions(pooled, latent_c, pixels)

    def cut_condition(self, condition, size, corners, crop: int):
        """The latent or preview of whole images of `size` (H, W) pixels as the UNet lays it over its stem, of the squares alone.

        Cutting a latent itself would stretch it: the release aligns its outermost cells with the image's edges.
        """
        place = AUTOENCODER_FACTOR * self.unet.patch_size  # pixels per position of the stem
        return crop_at_corners(resize(condition, [side // place for side in size]), corners // place, crop // place)

    # Sampling ---------------------------------------------------------------------------------------------------

    def sample(
        self, latent_c, captions, height, width, cfg=1.1, seeds=(0,), steps=10, sampler="ddpm", shift=1.0, progress=True
    ):
        """Prior latents (B, 16, h, w) and their captions -> Stage A latents (B, 4, ~height / 4, ~width / 4).

        captions: texts, or what `encode_captions` made of them. Image i depends on latent_c[i], captions[i] and seeds[i]
        alone. Errors as of ModelC.sample.
        """
        check_size(height, width)
        check_guidance("cfg", cfg)
        check_count("steps", steps, MOST_STEPS)
        captions = self.encoded(captions)
        check_batch(captions, seeds, latent_c)
        settings = decoder_sampling(steps, cfg, sampler, shift)
        return self.sample_inputs(
            self.inputs(captions, latent_c, height, width), height, width, seeds, settings, progress
        )

    def inputs(self, captions: EncodedCaptions, latent_c, height: int, width: int) -> SamplingInputs:
        """What text and the prior's latents alone are sampled from, for images of height x width."""
        self._check_latents(latent_c)
        pixels = self.small_image(latent_c, decoder_grid(height, width))
        if pixels is not None:
            check_finite(pixels, "Previewer: the preview for the decoder", lambda: self.frozen.blame("previewer"))
        return text.decoder_inputs(captions, latent_c, pixels)

    def sample_inputs(self, inputs: SamplingInputs, height, width, seeds, settings: SamplingSettings, progress=True):
        """Stage A latents (B, 4, ~height / 4, ~width / 4) of what the modes made of a request."""
        shape = (self.unet.c_in, *decoder_grid(height, width))
        with self.evaluating():
            return run_sampling(self.denoiser, inputs, shape, seeds, "Stage B", settings, progress, self.blame)

    def _check_latents(self, latent_c):
        """ValueError for what is no latent of the prior that this decoder is for, FloatingPointError for NaN in one."""
        channels = self.unet.effnet_mapper[0].weight.shape[0]
        if latent_c.ndim != 4 or latent_c.shape[1] != channels or min(latent_c.shape) < 1:
            raise ValueError(f"latent_c has shape {list(latent_c.shape)}, this decoder takes (B, {channels}, h, w).")
        check_finite(latent_c, "The prior's latent that the decoder was given", str)

    def finished(self, latents, height: int, width: int):
        """Stage A latents -> uint8 images (B, height, width, 3), cut from the middle of what Stage A makes of them.

        FloatingPointError, which names the file to blame, where a pixel is not finite.
        """
        images = centre_crop(self.decode(latents), height, width)
        return to_uint8(images, "Stage A: the decoded image", lambda: self.frozen.blame("stage_a"))

    def log_image(
        self, latent_c, caption, height=None, width=None, cfg=1.1, batch_size=None, seed=0, steps=10, progress=True
    ):
        """Finished images of the prior's latents: (uint8 (B, height, width, 3), Stage A latents).

        caption: one text, or a list of them, or EncodedCaptions. The size defaults to the one that the latents' grid
        stands for; image i uses seed + i.
        """
        self._check_latents(latent_c)
        native = image_size_of_grid(*latent_c.shape[2:])
        height, width = (side if side is not None else own for side, own in zip((height, width), native))
        batch_size = latent_c.shape[0] if batch_size is None else batch_size
        if batch_size != latent_c.shape[0]:
            raise ValueError(f"batch_size {batch_size}, but latent_c holds {latent_c.shape[0]} latents.")
        captions = caption if isinstance(caption, EncodedCaptions) else caption_batch(caption, batch_size)
        check_image_seed("seed", seed, batch_size)
        seeds = image_seeds(seed, batch_size)
        latents = self.sample(latent_c, captions, height, width, cfg, seeds, steps, progress=progress)
        return self.finished(latents, height, width), latents
