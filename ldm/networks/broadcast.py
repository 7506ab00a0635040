"""Scaling and shifting whole images by per-channel vectors, fast on CPUs too.

Images are (B, H, W, C) or, their positions in one axis, (B, N, C); vectors are (B or 1, 1, C).
"""

import math

import paddle


def scale_and_shift(x, scale, shift):
    """x * scale + shift for an image and two vectors."""
    return x * over_image(scale, x) + over_image(shift, x)


def over_image(vector, like):
    """A vector in a form that combines with the image `like`.

    GPUs broadcast it as it is. Paddle's CPU kernels broadcast over inner axes 15 times slower than they combine equal
    shapes, so there it is spread out, by a product with ones: that is the fastest way and so is its gradient.
    """
    batch, *sides, channels = like.shape
    rows = vector.shape[0]
    if not eager_on_cpu():
        return vector if len(sides) == 1 else vector.reshape([rows, *(1 for _ in sides), channels])
    positions = math.prod(sides) * (batch // rows)  # a vector for the whole batch: one image as long as the batch
    return paddle.matmul(paddle.ones([rows, positions, 1], vector.dtype), vector).reshape(like.shape)


def sum_over_image(x):
    """An image -> (B, 1, C).

    On a CPU as a product with ones: Paddle's reduction over inner axes is 20 times slower there. Not on a GPU, where a
    product may round to TF32.
    """
    batch, *sides, channels = x.shape
    if len(sides) > 1:
        x = x.reshape([batch, math.prod(sides), channels])
    if paddle.get_device() != "cpu":
        return x.sum(axis=1, keepdim=True)
    return paddle.matmul(paddle.ones([batch, 1, math.prod(sides)], x.dtype), x)


def eager_on_cpu(*tensors) -> bool:
    """Whether Paddle's own CPU kernels compute, and these tensors are float32.

    A traced program (`ldm.compiled`) has oneDNN's kernels, which broadcast well.
    """
    here = paddle.in_dynamic_mode() and paddle.get_device() == "cpu"
    return here and all(tensor.dtype == paddle.float32 for tensor in tensors)
