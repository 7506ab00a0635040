"""Scaling and shifting whole images by per-channel vectors, fast on CPUs too."""

import paddle


def scale_and_shift(x, scale, shift):
    """x * scale + shift for x (B, H, W, C) and vectors (B or 1, 1, 1, C)."""
    return x * over_image(scale, x) + over_image(shift, x)


def over_image(vector, like):
    """`vector` (B or 1, 1, 1, C) in a form that combines with `like` (B, H, W, C).

    GPUs broadcast it as it is. Paddle's CPU kernels broadcast over inner axes 15 times slower than they combine equal
    shapes, so there it is spread out, by a product with ones: that is the fastest way and so is its gradient.
    """
    if not like.place.is_cpu_place():
        return vector
    batch, height, width, channels = like.shape
    rows = vector.shape[0]
    spread = paddle.matmul(paddle.ones([rows, height * width, 1], vector.dtype), vector.reshape([rows, 1, channels]))
    spread = spread.reshape([rows, height, width, channels])
    return spread if rows == batch else spread.expand([batch, -1, -1, -1])


def sum_over_image(x):
    """(B, H, W, C) -> (B, 1, 1, C).

    On a CPU as a product with ones: Paddle's reduction over inner axes is 20 times slower there. Not on a GPU, where a
    product may round to TF32.
    """
    if not x.place.is_cpu_place():
        return x.sum(axis=[1, 2], keepdim=True)
    batch, height, width, channels = x.shape
    ones = paddle.ones([batch, 1, height * width], x.dtype)
    return paddle.matmul(ones, x.reshape([batch, height * width, channels])).unsqueeze(1)
