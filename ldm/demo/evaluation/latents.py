"""True pictures -> the prior's latents, resized as training resizes them."""

import numpy as np
import paddle
from PIL import Image

from ldm.data.transforms import resize_and_crop, to_array
from ldm.sizes import PRIOR_FACTOR, TRAINING_FACTOR
from ldm.weights.blame import check_finite


def training_size(size: int) -> int:
    """The side in pixels that training sees for pictures generated at `size`: three quarters."""
    return round(size * TRAINING_FACTOR / PRIOR_FACTOR)


def as_batch(images) -> paddle.Tensor:
    """Pictures, uint8 (H, W, 3) of one size -> float32 (B, 3, H, W) in [0, 1]."""
    return paddle.to_tensor(np.stack([to_array(Image.fromarray(image)) for image in images]))


def resized(images, size: int) -> list:
    """Pictures at another size as training resizes them: uint8 (size, size, 3) each."""
    return [np.asarray(resize_and_crop(Image.fromarray(image), size)) for image in images]


def prior_latents(cascade, images) -> paddle.Tensor:
    """Square pictures, uint8 (S, S, 3) -> latents (B, 16, ceil(S / 42.67), ceil(S / 42.67)).

    FloatingPointError, which names the file to blame, where one is not finite.
    """
    latents = cascade.prior.encode(as_batch(resized(images, training_size(images[0].shape[0]))))
    check_finite(latents, "EfficientNet encoder: the latent of a picture", lambda: cascade.frozen.blame("effnet"))
    return latents
