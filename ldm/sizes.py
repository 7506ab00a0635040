"""Sizes: users state the output image, everything else is derived."""

from math import ceil
from numbers import Integral

MINIMUM = 256  # smallest side of an image in pixels: below it the prior's grid is under 6 x 6
MAXIMUM = 16384  # largest: 16 times what the release was trained for; what a size takes in memory is forecast besides
PRIOR_FACTOR = 42.67  # image pixels per cell of the prior's latent
AUTOENCODER_FACTOR = 4  # image pixels per cell of the decoder's latent
TRAINING_FACTOR = 32  # training pixels per cell of the prior's latent
DECODER_PATCH = 2  # the decoder's sides must divide by its patch size


def check_size(height: int, width: int):
    """ValueError for an image side that is no whole number of pixels, below the minimum or above the maximum."""
    for name, side in (("height", height), ("width", width)):
        if not isinstance(side, Integral) or isinstance(side, bool):
            raise ValueError(f"{name} must be a whole number of pixels, at least {MINIMUM}, got {side!r}.")
        if side > MAXIMUM:
            raise ValueError(f"{name} {side} is above the maximum of {MAXIMUM} pixels: ask for {MAXIMUM} or less.")
        if side < MINIMUM:
            raise ValueError(f"{name} {side} is below the minimum of {MINIMUM} pixels: ask for {MINIMUM} or more.")


def prior_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the prior's latent for an image of height x width."""
    return ceil(height / PRIOR_FACTOR), ceil(width / PRIOR_FACTOR)


def decoder_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the decoder's latent, rounded up to whole patches; the image is cropped afterwards."""
    block = AUTOENCODER_FACTOR * DECODER_PATCH
    return DECODER_PATCH * ceil(height / block), DECODER_PATCH * ceil(width / block)


def image_size_of_grid(rows: int, columns: int) -> tuple[int, int]:
    """The image size that a prior grid stands for where none is stated: the largest multiple of 8 that needs it."""
    return tuple(max(MINIMUM, int(cells * PRIOR_FACTOR) // 8 * 8) for cells in (rows, columns))


def output_size_of_training(resolution: int) -> int:
    """Training crops of `resolution` pixels teach the prior what it generates at this output size."""
    return int(resolution * PRIOR_FACTOR / TRAINING_FACTOR)  # rounded up it would need one cell more than was trained


def training_size_of_output(output_size: int) -> int:
    """Pixels of the training crops for images of `output_size`: x 0.75, and exactly the grid that generation uses."""
    return TRAINING_FACTOR * ceil(output_size / PRIOR_FACTOR)


def centre_crop(images, height: int, width: int):
    """(B, C, H, W) -> (B, C, height, width), taken from the middle."""
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]
