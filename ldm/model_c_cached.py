"""ModelC trained on precomputed features: neither the CLIP towers nor the EfficientNet are loaded."""

import paddle

from ldm.conditions import assemble_prior_conditions
from ldm.model_c import ModelC


class CachedModelC(ModelC):
    """ModelC whose training batches are features. empty: {"text_embeds": (L, c), "pooled": (1, c')} of the empty caption.

    The other arguments are ModelC's.
    """

    def __init__(self, empty: dict, *arguments, **options):
        super().__init__(*arguments, **options)
        self.empty = {name: paddle.to_tensor(value) for name, value in empty.items()}

    def forward(self, latents, text_embeds, pooled, image_embeds, caption_dropped, image_used, t, epsilon):
        """One training batch -> the loss (), float32, as ModelC's on the images that the features were made from.

        latents (B, 16, h, w); text_embeds (B, L, c); pooled (B, 1, c'); image_embeds (B, 1, c''); caption_dropped,
        image_used (B,) bool; t (B,); epsilon like the latents.
        """
        dropped, unused = caption_dropped.reshape([-1, 1, 1]), ~image_used.reshape([-1, 1, 1])
        conditions = assemble_prior_conditions(
            paddle.where(dropped, self.empty["text_embeds"], text_embeds),
            paddle.where(dropped, self.empty["pooled"], pooled),
            paddle.where(unused, paddle.zeros_like(image_embeds), image_embeds),
        )
        return self.training_loss(latents, conditions, t, epsilon).loss
