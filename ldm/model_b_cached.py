"""ModelB trained on precomputed features: no CLIP tower, no EfficientNet, no Stage A in a training step."""

import paddle

from ldm.conditions import noised_latents
from ldm.model_b import ModelB
from ldm.sizes import AUTOENCODER_FACTOR
from ldm.squares import cut_squares


class CachedModelB(ModelB):
    """ModelB whose training batches are features. empty: {"pooled": (1, c)} of the empty caption.

    The other arguments are ModelB's.
    """

    def __init__(self, empty: dict, *arguments, **options):
        super().__init__(*arguments, **options)
        self.empty = paddle.to_tensor(empty["pooled"])

    def forward(
        self,
        decoder_latents,
        latents,
        pooled,
        caption_dropped,
        encoder_dropped,
        encoder_noise,
        t,
        epsilon,
        corners=None,
    ):
        """One training batch -> the loss (), float32, as ModelB's on the images that the features were made from.

        decoder_latents (B, 4, S / 4, S / 4) are Stage A's, latents (B, 16, h, w) the semantic encoder's; pooled (B, 1, c);
        the rest as ModelB's.
        """
        pooled = paddle.where(caption_dropped.reshape([-1, 1, 1]), self.empty, pooled)
        latents = noised_latents(latents, encoder_dropped, encoder_noise)
        size = [AUTOENCODER_FACTOR * side for side in decoder_latents.shape[2:]]
        crop = AUTOENCODER_FACTOR * epsilon.shape[2]
        conditions = self.training_conditions(pooled, latents, encoder_dropped, size, corners, crop)
        if corners is not None:
            decoder_latents = cut_squares(decoder_latents, corners // AUTOENCODER_FACTOR, epsilon.shape[2])
        return self.training_loss(decoder_latents, conditions, t, epsilon).loss
