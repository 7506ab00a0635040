"""Per-channel vectors (B or 1, 1, C) and images (B, H, W, C) or (B, N, C), combined by products with ones.

Paddle's CPU kernels broadcast over inner axes 15 times slower than they combine equal shapes, and sum over them 20 times
slower than they multiply matrices. In a program oneDNN broadcasts well; on a GPU a product may round to TF32.
"""

import math

import paddle
from paddle.autograd import PyLayer

from ldm.networks.layers.fast.switch import eager_float32, wanted


def sum_by_product(formula, x):
    """`sum_over_image`."""
    return summed(x)


def scale_in_place(formula, x, scale, shift):
    """`scale_and_shift`: two new images instead of four, and a gradient that keeps the vectors as they are."""
    if not eager_float32(x, scale, shift):
        return formula(x, scale, shift)
    return _ScaleAndShift.apply(x, scale, shift) if paddle.is_grad_enabled() else scaled_and_shifted(x, scale, shift)


def spread(vector, like):
    """A vector in the shape of the image `like`; the gradient of this product is as fast."""
    batch, *sides, channels = like.shape
    rows = vector.shape[0]
    positions = math.prod(sides) * (batch // rows)  # a vector for the whole batch: one image as long as the batch
    return paddle.matmul(paddle.ones([rows, positions, 1], vector.dtype), vector).reshape(like.shape)


def summed(x):
    """An image -> (B, 1, C)."""
    batch, *sides, channels = x.shape
    if len(sides) > 1:
        x = x.reshape([batch, math.prod(sides), channels])
    return paddle.matmul(paddle.ones([batch, 1, math.prod(sides)], x.dtype), x)


def scaled_and_shifted(x, scale, shift):
    """x * scale + shift without gradients."""
    return spread(scale, x).multiply_(x).add_(spread(shift, x))


def add_vector(image, vector):
    """image + vector (C,); without gradients the sum takes the image's place."""
    image_like = spread(vector.reshape([1, 1, -1]), image)
    return image + image_like if paddle.is_grad_enabled() else image.add_(image_like)


class _ScaleAndShift(PyLayer):
    """Keeps image and vectors, not the vectors spread out."""

    @staticmethod
    def forward(ctx, x, scale, shift):
        ctx.wanted = wanted(x, scale, shift)
        x = x.contiguous()  # see `_LayerNorm` in `ldm.networks.layers.fast.gradients`
        ctx.save_for_backward(x, scale)
        ctx.rows = scale.shape[0], shift.shape[0]
        return scaled_and_shifted(x, scale, shift)

    @staticmethod
    def backward(ctx, gradient):
        x, scale = ctx.saved_tensor()
        of_x, of_scale, of_shift = ctx.wanted
        return (
            spread(scale, x).multiply_(gradient) if of_x else None,
            _of_rows(summed(gradient * x), ctx.rows[0]) if of_scale else None,
            _of_rows(summed(gradient), ctx.rows[1]) if of_shift else None,
        )


def _of_rows(sums, rows: int):
    """Sums of each image (B, 1, C) as those of a vector per image or, rows 1, for the whole batch."""
    return sums if sums.shape[0] == rows else sums.sum(axis=0, keepdim=True)
