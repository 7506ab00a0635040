"""Conditions of training: what the semantic encoder is shown, and what noise and dropping make of its latents."""

import numpy as np
import paddle
import pytest

from ldm.conditions import noised_latents
from ldm.features import small_latents


class Shown:
    """An encoder that keeps what it was shown."""

    def encode(self, images):
        self.images = images
        return images


def test_dropped_latents_are_zero_and_the_others_have_the_noise():
    latents, noise = paddle.full([3, 16, 2, 3], 5.0), paddle.full([3, 16, 2, 3], 0.25)
    made = noised_latents(latents, paddle.to_tensor([True, False, True]), noise).numpy()
    np.testing.assert_array_equal(made[:, 0, 0, 0], [0, 5.25, 0])
    np.testing.assert_array_equal(made, np.broadcast_to(made[:, :1, :1, :1], made.shape))


@pytest.mark.parametrize("resample, corner", [("nearest", 0.0), ("area", (0 + 1 + 128 + 129) / 4)])
def test_the_encoder_sees_32_pixels_per_cell(resample, corner):
    images, encoder = paddle.arange(128 * 128, dtype="float32").reshape([1, 1, 128, 128]), Shown()
    small_latents(encoder, images, [2, 2], resample)
    assert encoder.images.shape == [1, 1, 64, 64] and float(encoder.images[0, 0, 0, 0]) == corner
    small_latents(encoder, images, [4, 4], resample)
    assert encoder.images is images
