"""Sizes derived from the output image."""

import numpy as np
import paddle
import pytest

from ldm import sizes


@pytest.mark.parametrize(
    "height, width, prior, decoder",
    [
        (1024, 1024, (24, 24), (256, 256)),
        (256, 256, (6, 6), (64, 64)),
        (832, 1216, (20, 29), (208, 304)),
        (1024, 1536, (24, 36), (256, 384)),
        (1000, 500, (24, 12), (250, 126)),  # 125 columns are no whole patches
        (257, 263, (7, 7), (66, 66)),
        (2048, 4096, (48, 96), (512, 1024)),
    ],
)
def test_grids(height, width, prior, decoder):
    assert sizes.prior_grid(height, width) == prior
    assert sizes.decoder_grid(height, width) == decoder


@pytest.mark.parametrize("height", range(256, 700, 7))
def test_the_decoded_image_covers_the_wanted_one_tightly(height):
    rows, _ = sizes.decoder_grid(height, 1024)
    assert rows % sizes.DECODER_PATCH == 0
    assert 0 <= rows * sizes.AUTOENCODER_FACTOR - height < 8


@pytest.mark.parametrize("rows", range(6, 100))
def test_the_size_of_a_grid_needs_that_grid(rows):
    height, width = sizes.image_size_of_grid(rows, 24)
    assert width == 1024 and height % 8 == 0 and sizes.prior_grid(height, width) == (rows, 24)
    assert sizes.prior_grid(height + 8, width)[0] > rows


def test_a_tiny_grid_stands_for_the_smallest_image():
    assert sizes.image_size_of_grid(1, 3) == (256, 256)


@pytest.mark.parametrize("resolution", [512, 768, 1024, 1536])
def test_an_output_of_the_trained_size_has_the_trained_grid(resolution):
    side = sizes.output_size_of_training(resolution)
    assert abs(side - resolution * 4 / 3) < 2
    assert sizes.prior_grid(side, side) == (resolution // 32,) * 2


@pytest.mark.parametrize(
    "height, width, said", [(255, 1024, "height 255"), (1024, 0, "width 0"), (-1, 1024, "height -1")]
)
def test_too_small(height, width, said):
    with pytest.raises(ValueError, match=f"{said} is below the minimum of 256"):
        sizes.check_size(height, width)


def test_smallest_is_allowed():
    sizes.check_size(256, 256)


def test_centre_crop():
    image = paddle.arange(2 * 6 * 9, dtype="float32").reshape([1, 2, 6, 9])
    cropped = sizes.centre_crop(image, 4, 6)
    np.testing.assert_array_equal(cropped.numpy(), image.numpy()[:, :, 1:5, 1:7])
    np.testing.assert_array_equal(sizes.centre_crop(image, 6, 9).numpy(), image.numpy())
