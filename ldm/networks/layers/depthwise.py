"""A depthwise convolution on channels-last tensors that is fast on CPUs where tensors are small."""

from functools import lru_cache

import numpy as np
import paddle
from paddle.autograd import PyLayer

from ldm.networks.layers.broadcast import eager_on_cpu, over_image, sum_over_image
from ldm.networks.layers.resample import Conv2D

LARGEST = 2**19  # numbers in a tensor; beyond it the copies cost more than Paddle's kernel does


class DepthwiseConv2D(Conv2D):
    """`Conv2D` with one odd, square kernel per channel and "same" padding of zeros; in eager mode on a CPU, faster.

    Paddle's kernel there multiplies a matrix of one row per channel and image. For small tensors one product per channel
    takes a third of the time: rows of the image, side by side for every row of the kernel, by a banded matrix.
    """

    def forward(self, x):
        if eager_on_cpu(x, self.weight) and x.size <= LARGEST and self.bias is not None:
            return _Depthwise.apply(x, self.weight, self.bias)
        return Conv2D.forward(self, x)


class _Depthwise(PyLayer):
    """x (B, H, W, C), weight (C, 1, k, k), bias (C,) -> (B, H, W, C)."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.wanted = [not tensor.stop_gradient for tensor in (x, weight, bias)]
        x, weight = x.contiguous(), weight.contiguous()  # see `ldm.networks.layers.norms`
        ctx.save_for_backward(x, weight)
        batch, height, width, channels = x.shape
        product = paddle.matmul(_windows(x, weight.shape[-1]), _bands(weight, width))
        spread = over_image(bias.reshape([1, 1, channels]), x)
        return product.reshape([channels, batch, height, width]).transpose([1, 2, 3, 0]) + spread

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
            found[2] = sum_over_image(gradient.reshape([1, -1, channels])).flatten()
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
