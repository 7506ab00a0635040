"""Scaling and shifting whole images by per-channel vectors, fast on CPUs too.

Images are (B, H, W, C) or, their positions in one axis, (B, N, C); vectors are (B or 1, 1, C).
"""

import math

import paddle
from paddle.autograd import PyLayer


def scale_and_shift(x, scale, shift):
    """x * scale + shift for an image and two vectors."""
    if not eager_on_cpu(x, scale, shift):
        return x * over_image(scale, x) + over_image(shift, x)
    return _ScaleAndShift.apply(x, scale, shift) if paddle.is_grad_enabled() else scaled_and_shifted(x, scale, shift)


def scaled_and_shifted(x, scale, shift):
    """`scale_and_shift` in eager mode on a CPU, without gradients: two new images instead of four."""
    return over_image(scale, x).multiply_(x).add_(over_image(shift, x))


def add_vector(image, vector):
    """image + vector (C,) in eager mode on a CPU; without gradients the sum takes the image's place."""
    spread = over_image(vector.reshape([1, 1, -1]), image)
    return image + spread if paddle.is_grad_enabled() else image.add_(spread)


class _ScaleAndShift(PyLayer):
    """Keeps image and vectors, not the vectors spread out."""

    @staticmethod
    def forward(ctx, x, scale, shift):
        ctx.wanted = [not tensor.stop_gradient for tensor in (x, scale, shift)]
        x = x.contiguous()  # see `ldm.networks.layers.norms`
        ctx.save_for_backward(x, scale)
        ctx.rows = scale.shape[0], shift.shape[0]
        return scaled_and_shifted(x, scale, shift)

    @staticmethod
    def backward(ctx, gradient):
        x, scale = ctx.saved_tensor()
        of_x, of_scale, of_shift = ctx.wanted
        return (
            over_image(scale, x).multiply_(gradient) if of_x else None,
            _of_rows(sum_over_image(gradient * x), ctx.rows[0]) if of_scale else None,
            _of_rows(sum_over_image(gradient), ctx.rows[1]) if of_shift else None,
        )


def _of_rows(sums, rows: int):
    """Sums of each image (B, 1, C) as those of a vector per image or, rows 1, for the whole batch."""
    return sums if sums.shape[0] == rows else sums.sum(axis=0, keepdim=True)


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

    A traced program (`ldm.compiled.unet`) has oneDNN's kernels, which broadcast well.
    """
    return paddle.in_dynamic_mode() and float32_on_cpu(*tensors)


def float32_on_cpu(*tensors) -> bool:
    """Whether a CPU computes, eagerly or in a traced program, and these tensors are float32."""
    return paddle.get_device() == "cpu" and all(tensor.dtype == paddle.float32 for tensor in tensors)
