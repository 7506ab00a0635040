"""What encoders are shown of a batch, and what drawing, dropping and a cache make of what they say."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ldm.conditions import noised_latents
from ldm.features import PriorFeatures, small_latents


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


class Text:
    """A text tower whose states are the token ids."""

    def tokenize(self, captions, max_length):
        return np.full([len(captions), max_length], 9), np.ones([len(captions), max_length], "int64")

    def __call__(self, ids, mask):
        return ids.astype("float32").unsqueeze(2), ids[:, :1].astype("float32").unsqueeze(2)


class Image:
    """An image tower that counts the rows it was shown; the embedding is 1 + their first pixel."""

    projection_dim, rows = 1, 0

    def __call__(self, pixels):
        self.rows += pixels.shape[0]
        return 1 + pixels[:, :1, 0, 0].unsqueeze(2)


def test_encoding_a_batch_with_its_draws_is_encoding_all_of_it_and_dropping_from_the_cache():
    images, pixels = paddle.rand([3, 3, 64, 64]), paddle.arange(12, dtype="float32").reshape([3, 1, 2, 2])
    ids, mask = paddle.to_tensor([[1, 2], [3, 4], [5, 6]]), paddle.ones([3, 2], dtype="int64")
    dropped, used = paddle.to_tensor([True, False, False]), paddle.to_tensor([False, False, True])
    stage, drawn = PriorFeatures(), {"t": paddle.rand([3]), "epsilon": paddle.randn([3, 3, 64, 64])}
    frozen = SimpleNamespace(text=Text(), image=Image(), effnet=Shown())
    now = stage.encode_batch(frozen, images, ids, mask, pixels, dropped, used)
    assert frozen.image.rows == 1, "the image tower runs only on rows that are used"
    assert now["text_embeds"].flatten().tolist() == [9, 9, 3, 4, 5, 6]
    assert now["image_embeds"].flatten().tolist() == [0, 0, 9]

    rows = stage.encode_batch(frozen, images, ids, mask, pixels)
    assert tuple(rows) == stage.names and frozen.image.rows == 4
    empty = {"text_embeds": paddle.full([2, 1], 9.0), "pooled": paddle.full([1, 1], 9.0)}
    arguments = stage.from_cache(empty, **rows, caption_dropped=dropped, image_used=used, **drawn)
    assert arguments.keys() == {*now, *drawn}
    assert all(np.array_equal(arguments[name].numpy(), now[name].numpy()) for name in now)


def test_no_row_is_shown_where_none_is_used():
    frozen = SimpleNamespace(text=Text(), image=Image(), effnet=Shown())
    ids, none = paddle.ones([2, 2], dtype="int64"), paddle.zeros([2], dtype="bool")
    made = PriorFeatures().encode_batch(
        frozen, paddle.rand([2, 3, 32, 32]), ids, ids, paddle.rand([2, 1, 2, 2]), none, none
    )
    assert frozen.image.rows == 0 and made["image_embeds"].tolist() == [[[0.0]], [[0.0]]]
