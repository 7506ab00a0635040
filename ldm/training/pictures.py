"""Pictures that trainers show: the dataset's first images beside what a model makes of them."""

import numpy as np
import paddle
from PIL import Image

from ldm.generation import to_uint8

SHOWN = 4


def first_images(dataset, count: int = SHOWN):
    """The first images of a dataset as a batch (N, 3, S, S) in [0, 1]."""
    return paddle.to_tensor(np.stack([dataset[i]["image"] for i in range(min(count, len(dataset)))]))


def paired(images, made: np.ndarray) -> list:
    """Images (N, 3, S, S) and what was made of them, uint8 (N, H, W, 3) of any size -> alternating, all S x S."""
    originals = to_uint8(images)
    side = originals.shape[1]
    resized = [np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.NEAREST)) for one in made]
    return [picture for pair in zip(originals, resized) for picture in pair]
