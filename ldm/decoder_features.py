"""What Stage B's frozen encoders say about a captioned image: Stage A's latent, the semantic latent, the pooled text."""

import numpy as np
import paddle

from ldm.common.precision import float32_region
from ldm.conditions import small_latents
from ldm.data.dataset import ImageTextDataset
from ldm.frozen import Frozen
from ldm.sizes import TRAINING_FACTOR


class DecoderFeatures:
    """What Stage B is trained on, for a fixed size of what the semantic encoder sees.

    scale: its side as a share of the image's; resample: how the image is made smaller, "nearest" or "area".
    """

    networks = ("effnet", "stage_a")
    names = ("decoder_latents", "latents", "pooled")

    def __init__(self, scale: float = 0.75, resample: str = "nearest"):
        self.scale, self.resample = scale, resample
        self.recipe = {"stage": "decoder", "encoder_scale": scale, "encoder_resample": resample}

    def prepare(self, frozen: Frozen, dataset: ImageTextDataset):
        """Items hold all that is needed: image and caption."""

    @paddle.no_grad()
    def encode(self, frozen: Frozen, items: list, max_length=None) -> dict:
        """Items of a dataset -> {name: (N, ...)} float32, as `ModelB.forward` would compute them without its draws."""
        _, pooled = frozen.text(*frozen.text.tokenize([item["caption"] for item in items], max_length))
        images = paddle.to_tensor(np.stack([item["image"] for item in items]))
        cells = [max(1, int(side * self.scale / TRAINING_FACTOR)) for side in images.shape[2:]]
        with float32_region():
            decoder_latents = frozen.stage_a.encode(images.astype("float32"))
            latents = small_latents(frozen.effnet, images.astype("float32"), cells, self.resample)
        named = {"decoder_latents": decoder_latents, "latents": latents, "pooled": pooled}
        return {name: values.astype("float32").numpy() for name, values in named.items()}
