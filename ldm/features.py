"""Features: what the encoders say of a batch of captioned images, and all that a stage's `forward` is trained on.

A stage's `encode_batch` computes them in every step; scripts/cache_features.py fills a cache by the same function, and what
is read from one becomes the same arguments of `forward` by `from_cache`.
"""

from typing import ClassVar

import paddle

from ldm.common.precision import float32_region
from ldm.frozen import Frozen
from ldm.sizes import AUTOENCODER_FACTOR, TRAINING_FACTOR


class PriorFeatures:
    """Stage C's. `names`: of a cached row's arrays; `networks`: of the release, whose files they depend on, besides the CLIP
    towers; `recipe`: what else they depend on."""

    names = ("latents", "text_embeds", "pooled", "image_embeds")
    networks = ("effnet",)
    recipe: ClassVar[dict] = {}

    def prepare(self, frozen: Frozen, dataset):
        """Have an ImageTextDataset's items hold what `encode_batch` needs."""
        dataset.clip_size = frozen.image.image_size

    def encode_batch(
        self, frozen: Frozen, images, input_ids, attention_mask, clip_pixels, caption_dropped=None, image_used=None
    ) -> dict:
        """latents (B, 16, S / 32, S / 32), text_embeds (B, L, c), pooled (B, 1, c') and image_embeds (B, 1, c'') of a batch.

        images (B, 3, S, S) and clip_pixels (B, 3, P, P) in [0, 1]; input_ids, attention_mask (B, L). Where caption_dropped
        (B,) the text is that of ""; where not image_used (B,) the embedding is zero. None: no and all.
        """
        with float32_region():  # frozen networks keep their own precision under any autocast
            text_embeds, pooled = _text(frozen, input_ids, attention_mask, caption_dropped)
            return {
                "latents": encode_images(frozen, images),
                "text_embeds": text_embeds,
                "pooled": pooled,
                "image_embeds": _image_embeds(frozen, clip_pixels, image_used),
            }

    def from_cache(
        self, empty: dict, latents, text_embeds, pooled, image_embeds, caption_dropped, image_used, t, epsilon
    ) -> dict:
        """Cached rows and what is drawn for them -> arguments of `ModelC.forward`.

        empty: {"text_embeds": (L, c), "pooled": (1, c')} of the empty caption.
        """
        dropped, unused = caption_dropped.reshape([-1, 1, 1]), ~image_used.reshape([-1, 1, 1])
        text_embeds = paddle.where(dropped, empty["text_embeds"], text_embeds)
        pooled = paddle.where(dropped, empty["pooled"], pooled)
        image_embeds = paddle.where(unused, paddle.zeros_like(image_embeds), image_embeds)
        return dict(
            latents=latents, text_embeds=text_embeds, pooled=pooled, image_embeds=image_embeds, t=t, epsilon=epsilon
        )


class DecoderFeatures:
    """Stage B's. scale: side of what the semantic encoder sees as a share of the image's, where no draw decides it;
    resample: how the image is made smaller for it, "nearest" as in the release, or "area"."""

    names = ("decoder_latents", "latents", "pooled")
    networks = ("effnet", "stage_a")

    def __init__(self, scale: float = 0.75, resample: str = "nearest"):
        self.scale, self.resample = scale, resample
        self.recipe = {"stage": "decoder", "encoder_scale": scale, "encoder_resample": resample}

    def prepare(self, frozen: Frozen, dataset):
        """Items hold image and caption alone."""
        dataset.clip_size = None

    def encode_batch(
        self,
        frozen: Frozen,
        images,
        input_ids,
        attention_mask,
        caption_dropped=None,
        cells=None,
        corners=None,
        side=None,
        encoder=None,
    ) -> dict:
        """decoder_latents (B, 4, S / 4, S / 4), the encoder's latents (B, 16, *cells), pooled (B, 1, c) of a batch.

        images (B, 3, S, S) in [0, 1], S divisible by 8; input_ids, attention_mask (B, L); caption_dropped (B,) or None.
        corners (B, 2): decoder_latents are those of the squares of `side` pixels with these top left corners. encoder: one
        that is trained along; its latents are differentiable. size: the images' own (S, S).
        """
        size = images.shape[2:]
        cells = cells or [max(1, int(length * self.scale / TRAINING_FACTOR)) for length in size]
        with float32_region():  # the encoder keeps float32 under any autocast, also where it is trained
            _, pooled = _text(frozen, input_ids, attention_mask, caption_dropped)
            latents = small_latents(frozen.effnet if encoder is None else encoder, images, cells, self.resample)
        seen = images if corners is None else crop_at_corners(images, corners, side)
        decoder_latents = encode_for_decoder(frozen, seen)
        return {"decoder_latents": decoder_latents, "latents": latents, "pooled": pooled, "size": size}

    def from_cache(
        self,
        empty: dict,
        decoder_latents,
        latents,
        pooled,
        caption_dropped,
        encoder_dropped,
        encoder_noise,
        t,
        epsilon,
        corners=None,
    ) -> dict:
        """Cached rows and what is drawn for them -> arguments of `ModelB.forward`. empty: {"pooled": (1, c)} of ""."""
        size = [AUTOENCODER_FACTOR * side for side in decoder_latents.shape[2:]]
        if corners is not None:
            decoder_latents = crop_at_corners(decoder_latents, corners // AUTOENCODER_FACTOR, epsilon.shape[2])
        pooled = paddle.where(caption_dropped.reshape([-1, 1, 1]), empty["pooled"], pooled)
        features = {"decoder_latents": decoder_latents, "latents": latents, "pooled": pooled, "size": size}
        drawn = {"encoder_dropped": encoder_dropped, "encoder_noise": encoder_noise, "t": t, "epsilon": epsilon}
        return {**features, **drawn, "corners": corners}


def _text(frozen: Frozen, input_ids, attention_mask, dropped):
    """Text states (B, L, c) and pooled text (B, 1, c); those of the empty caption where `dropped` (B,) bool is true."""
    if dropped is not None:
        empty_ids, empty_mask = (paddle.to_tensor(x) for x in frozen.text.tokenize([""], input_ids.shape[1]))
        row = dropped.unsqueeze(1)
        input_ids = paddle.where(row, empty_ids, input_ids)
        attention_mask = paddle.where(row, empty_mask, attention_mask)
    return frozen.text(input_ids, attention_mask)


def _image_embeds(frozen: Frozen, clip_pixels, used):
    """CLIP image embeddings (B, 1, c) of `clip_pixels` where `used` (B,) bool is true, zeros elsewhere; None: of all.

    The tower runs only on the rows that are used: on one image in ten, by default.
    """
    if used is None:
        return frozen.image(clip_pixels)
    embeds = paddle.zeros([used.shape[0], 1, frozen.image.projection_dim])
    rows = used.nonzero().flatten()
    if rows.shape[0] == 0:
        return embeds
    return paddle.scatter(embeds, rows, frozen.image(clip_pixels.index_select(rows)))


@paddle.no_grad()
def encode_images(frozen: Frozen, images):
    """Images (B, 3, H, W) in [0, 1] -> prior latents (B, 16, ceil(H / 32), ceil(W / 32)), float32."""
    with float32_region():
        return frozen.effnet.encode(images.astype("float32"))


@paddle.no_grad()
def encode_for_decoder(frozen: Frozen, images):
    """Images (B, 3, H, W) in [0, 1], sides divisible by 8 -> Stage A latents (B, 4, H / 4, W / 4), float32."""
    with float32_region():
        return frozen.stage_a.encode(images.astype("float32"))


def small_latents(encoder, images, cells, resample: str):
    """images (B, 3, S, S) in [0, 1], resized to 32 pixels per cell, -> the encoder's latents (B, 16, *cells).

    resample: "nearest" as in the release, or "area". Differentiable in the encoder.
    """
    size = [TRAINING_FACTOR * side for side in cells]
    if images.shape[2:] != size:
        images = paddle.nn.functional.interpolate(images, size=size, mode=resample)
    return encoder.encode(images)


def crop_at_corners(x, corners, side: int):
    """x (B, C, H, W) -> (B, C, side, side), sample i from (top, left) = corners[i] on; corners (B, 2).

    Training on parts sees more pictures at the same cost.
    """
    return paddle.stack(
        [x[i, :, top : top + side, left : left + side] for i, (top, left) in enumerate(corners.tolist())]
    )
