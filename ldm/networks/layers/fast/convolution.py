"""Convolutions in eager mode on a CPU: the bias added channels last; depthwise ones of small tensors by banded matrices."""

from functools import lru_cache

import numpy as np
import paddle
from paddle.autograd import PyLayer

from ldm.networks.layers.fast.switch import eager_float32, wanted
from ldm.networks.layers.fast.vectors import add_vector, spread, summed

LARGEST = 2**19  # numbers in a tensor; beyond it the copies cost more than Paddle's kernel does


def bias_channels_last(formula, layer, x, weight, bias):
    """`convolve`: Paddle's CPU kernels broadcast slowly, over channels-first images most of all."""
    if bias is None or not eager_float32(x, weight, bias):
        return formula(layer, x, weight, bias)
    return add_vector(formula(layer, x, weight, None), bias)


def depthwise_by_bands(formula, layer, x):
    """`DepthwiseConv2D`: for small tensors one product per channel takes a third of the time.

    Paddle's kernel multiplies a matrix of one row per channel and image. Here: rows of the image, side by side for every
    row of the kernel, by a banded matrix.
    """
    if layer.bias is None or not eager_float32(x, layer.weight) or x.size > LARGEST:
        return formula(layer, x)
    return _Depthwise.apply(x, layer.weight, layer.bias)


class _Depthwise(PyLayer):
    """x (B, H, W, C), weight (C, 1, k, k), bias (C,) -> (B, H, W, C)."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.wanted = wanted(x, weight, bias)
        x, weight = x.contiguous(), weight.contiguous()  # see `_LayerNorm` in `ldm.networks.layers.fast.gradients`
        ctx.save_for_backward(x, weight)
        batch, height, width, channels = x.shape
        product = paddle.matmul(_windows(x, weight.shape[-1]), _bands(weight, width))
        over_image = spread(bias.reshape([1, 1, channels]), x)
        return product.reshape([channels, batch, height, width]).transpose([1, 2, 3, 0]) + over_image

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensor()
        batch, height, width, channels = x.shape
        of_x, of_weight, of_bias = ctx.wanted
        rows = gradient.transpose([3, 0, 1, 2]).reshape([channels, batch * height, width])
        found = [None, None, None]
        if of_x:
            windows = paddle.matmul(rows, _bands(weight, width), transpose_y=True)
            found[0] = _folded(windows.reshape([channels, batch, height, -1]), width).transpose([1, 2, 3, 0])
        if of_weight:
            bands = paddle.matmul(_windows(x, weight.shape[-1]), rows, transpose_x=True).reshape([channels, -1])
            found[1] = paddle.matmul(bands, _pattern(weight.shape[-1], width), transpose_y=True).reshape(weight.shape)
        if of_bias:
            found[2] = summed(gradient.reshape([1, -1, channels])).flatten()
        return tuple(found)


def _windows(x, kernel: int):
    """x (B, H, W, C) -> (C, B * H, kernel * W): for each row of the image the `kernel` rows around it, zeros outside."""
    batch, height, width, channels = x.shape
    outside = paddle.zeros([channels, batch, kernel // 2, width], x.dtype)
    padded = paddle.concat([outside, x.transpose([3, 0, 1, 2]), outside], axis=2)
    rows = [padded[:, :, first : first + height] for first in range(kernel)]
    return paddle.concat(rows, axis=-1).reshape([channels, batch * height, kernel * width])


def _folded(windows, width: int):
    """The transpose of `_windows`: (C, B, H, kernel * W) -> (C, B, H, W), each row's windows summed where they came from."""
    channels, batch, height, _ = windows.shape
    kernel = windows.shape[-1] // width
    reach, total = kernel // 2, 0
    for index in range(kernel):
        part, up = windows[..., index * width : (index + 1) * width], reach - index
        if up:
            outside = paddle.zeros([channels, batch, min(abs(up), height), width], windows.dtype)
            inside = part[:, :, max(up, 0) : max(height + min(up, 0), 0)]
            part = paddle.concat([inside, outside] if up > 0 else [outside, inside], axis=2)
        total = part + total
    return total


def _bands(weight, width: int):
    """weight (C, 1, k, k) -> (C, k * width, width): what takes the windows of a row to the row of the output."""
    channels, _, kernel, _ = weight.shape
    bands = paddle.matmul(weight.reshape([channels, kernel * kernel]), _pattern(kernel, width))
    return bands.reshape([channels, kernel * width, width])


@lru_cache(maxsize=64)
def _pattern(kernel: int, width: int):
    """(k * k, k * width * width), 1 where an entry of the kernel lies in the banded matrix and 0 elsewhere."""
    pattern = np.zeros([kernel, kernel, kernel, width, width], np.float32)
    for column in range(kernel):
        shift = column - kernel // 2  # the output at w reads the input at w + shift
        band = np.eye(width, k=-shift, dtype=np.float32)
        for row in range(kernel):
            pattern[row, column, row] = band
    return paddle.to_tensor(pattern.reshape([kernel * kernel, -1]))
