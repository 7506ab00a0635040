"""The conditioning tensors of prior and decoder: of captions for generation, of features for training."""

from dataclasses import dataclass

import paddle

from ldm.frozen import Frozen


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


def prior_conditions(text_embeds, pooled, image_embeds) -> dict:
    """Stage C's conditions: text (B, L, c), pooled text (B, 1, c'), image embeddings (B, N, c''), CLIP's or zeros."""
    return {"clip_text": text_embeds, "clip_text_pooled": pooled, "clip_img": image_embeds}


def decoder_conditions(pooled, latent_c, pixels=None) -> dict:
    """Stage B's conditions: pooled text (B, 1, c), the prior's latent (B, 16, h, w), a small image (B, 3, h', w') or None."""
    return {"effnet": latent_c, "clip": pooled, **({} if pixels is None else {"pixels": pixels})}


def decoder_unconditional(captions: EncodedCaptions, latent_c, pixels=None) -> dict:
    """What Stage B is guided away from: the text of "", a zero latent, no image."""
    nothing = None if pixels is None else paddle.zeros_like(pixels)
    return decoder_conditions(captions.unconditional().pooled, paddle.zeros_like(latent_c), nothing)


def without(condition, dropped):
    """A condition (B, C, h, w), zero where `dropped` (B,) bool is true."""
    return paddle.where(dropped.reshape([-1, 1, 1, 1]), paddle.zeros_like(condition), condition)


def noised_latents(latents, dropped, noise):
    """latents + noise, both (B, 16, h, w), but zero, noise included, where `dropped` (B,) bool is true."""
    return without(latents + noise, dropped)
