"""Captions and images -> the conditioning tensors of prior and decoder, for generation and for training."""

from dataclasses import dataclass

import paddle

from ldm.common.precision import float32_region
from ldm.frozen import Frozen
from ldm.sizes import TRAINING_FACTOR


@dataclass(frozen=True)
class EncodedCaptions:
    """B captions as the text tower sees them, and the empty one that guidance leads away from."""

    text_embeds: paddle.Tensor  # (B, L, c)
    pooled: paddle.Tensor  # (B, 1, c')
    empty_text_embeds: paddle.Tensor  # (1, L, c)
    empty_pooled: paddle.Tensor  # (1, 1, c')

    def __len__(self):
        return self.pooled.shape[0]

    def unconditional(self) -> "EncodedCaptions":
        """The empty caption B times."""
        text_embeds, pooled = (x.expand([len(self), -1, -1]) for x in (self.empty_text_embeds, self.empty_pooled))
        return EncodedCaptions(text_embeds, pooled, self.empty_text_embeds, self.empty_pooled)


def encode_captions(frozen: Frozen, captions) -> EncodedCaptions:
    """B captions, each different one encoded once; what is encoded already is returned as it is."""
    if isinstance(captions, EncodedCaptions):
        return captions
    distinct = list(dict.fromkeys(captions))
    text_embeds, pooled = frozen.text.encode(distinct)
    if len(distinct) < len(captions):
        rows = paddle.to_tensor([distinct.index(caption) for caption in captions])
        text_embeds, pooled = text_embeds.index_select(rows), pooled.index_select(rows)
    return EncodedCaptions(text_embeds, pooled, *frozen.text.encode([""]))


def prior_conditions(captions: EncodedCaptions, image_embeds) -> dict:
    """Stage C's conditions for B captions and image_embeds (B, N, c): CLIP's, for image variations, or zeros."""
    return assemble_prior_conditions(captions.text_embeds, captions.pooled, image_embeds)


def assemble_prior_conditions(text_embeds, pooled, image_embeds) -> dict:
    """The names Stage C knows its conditions by: (B, L, c), (B, 1, c') and (B, N, c'')."""
    return {"clip_text": text_embeds, "clip_text_pooled": pooled, "clip_img": image_embeds}


def decoder_conditions(pooled, latent_c, pixels=None) -> dict:
    """Stage B's conditions: pooled text (B, 1, c), the prior's latent (B, 16, h, w), a small image (B, 3, h', w') or None."""
    return {"effnet": latent_c, "clip": pooled, **({} if pixels is None else {"pixels": pixels})}


def decoder_unconditional(captions: EncodedCaptions, latent_c, pixels=None) -> dict:
    """What Stage B is guided away from: the text of "", a zero latent, no image."""
    nothing = None if pixels is None else paddle.zeros_like(pixels)
    return decoder_conditions(captions.unconditional().pooled, paddle.zeros_like(latent_c), nothing)


def drop_captions(frozen: Frozen, input_ids, attention_mask, dropped):
    """Replace the token rows (B, L) where `dropped` (B,) bool is true by those of the empty caption."""
    empty_ids, empty_mask = (paddle.to_tensor(x) for x in frozen.text.tokenize([""], input_ids.shape[1]))
    row = dropped.unsqueeze(1)
    return paddle.where(row, empty_ids, input_ids), paddle.where(row, empty_mask, attention_mask)


def training_text(frozen: Frozen, input_ids, attention_mask, dropped):
    """Text states (B, L, c) and pooled text (B, 1, c) of a training batch, captions dropped where asked."""
    return frozen.text(*drop_captions(frozen, input_ids, attention_mask, dropped))


def training_image_embeds(frozen: Frozen, clip_pixels, used, width: int):
    """CLIP image embeddings (B, 1, width) of `clip_pixels` where `used` (B,) bool is true, zeros elsewhere.

    The tower runs only on the rows that are used: on one image in ten, by default.
    """
    embeds = paddle.zeros([used.shape[0], 1, width])
    rows = used.nonzero().flatten()
    if rows.shape[0] == 0:
        return embeds
    return paddle.scatter(embeds, rows, frozen.image(clip_pixels.index_select(rows)))


@paddle.no_grad()
def encode_images(frozen: Frozen, images):
    """Images (B, 3, H, W) in [0, 1] -> prior latents (B, 16, ceil(H / 32), ceil(W / 32)), float32."""
    with float32_region():
        return frozen.effnet.encode(images.astype("float32"))


def training_latents(encoder, images, dropped, noise, resample: str = "nearest"):
    """What Stage B is trained with: the encoder's latents of `images` plus `noise`, zero where `dropped` (B,) bool.

    images and resample: as `small_latents` takes them, `noise` (B, 16, h, w) having its cells. Differentiable in the
    encoder.
    """
    return noised_latents(small_latents(encoder, images, noise.shape[2:], resample), dropped, noise)


def without(condition, dropped):
    """A condition (B, C, h, w), zero where `dropped` (B,) bool is true."""
    return paddle.where(dropped.reshape([-1, 1, 1, 1]), paddle.zeros_like(condition), condition)


def small_latents(encoder, images, cells, resample: str):
    """images (B, 3, S, S) in [0, 1], resized to 32 pixels per cell, -> the encoder's latents (B, 16, *cells).

    resample: "nearest" as in the release, or "area".
    """
    size = [TRAINING_FACTOR * side for side in cells]
    if images.shape[2:] != size:
        images = paddle.nn.functional.interpolate(images, size=size, mode=resample)
    return encoder.encode(images)


def noised_latents(latents, dropped, noise):
    """latents + noise, both (B, 16, h, w), but zero, noise included, where `dropped` (B,) bool is true."""
    return without(latents + noise, dropped)
