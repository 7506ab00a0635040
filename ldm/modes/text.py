"""Text: the captions are what every image is made from; other modes change what this file makes of them."""

import paddle

from ldm.conditions import EncodedCaptions, decoder_conditions, decoder_unconditional, prior_conditions
from ldm.modes.mode import SamplingInputs


def prior_inputs(captions: EncodedCaptions, image_width: int) -> SamplingInputs:
    """B captions, guided away from the empty one; zeros for the image embeddings (B, 1, image_width)."""
    no_image, nothing = paddle.zeros([len(captions), 1, image_width]), captions.unconditional()
    return SamplingInputs(
        prior_conditions(captions.text_embeds, captions.pooled, no_image),
        prior_conditions(nothing.text_embeds, nothing.pooled, no_image),
    )


def decoder_inputs(captions: EncodedCaptions, latent_c, pixels=None) -> SamplingInputs:
    """B captions and the prior's latents (B, 16, h, w), guided away from the empty caption and a zero latent."""
    return SamplingInputs(
        decoder_conditions(captions.pooled, latent_c, pixels), decoder_unconditional(captions, latent_c, pixels)
    )
