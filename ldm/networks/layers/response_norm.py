"""Global response normalisation, channels last, always computed in float32 (ConvNeXt V2, arXiv:2301.00808)."""

import paddle
from paddle import nn
from paddle.autograd import PyLayer

from ldm.common.precision import float32_region
from ldm.networks.layers.broadcast import eager_on_cpu, over_image, scale_and_shift, scaled_and_shifted, sum_over_image

SMALLEST = 1e-30  # sum of squares; its root is nothing beside EPS
EPS = 1e-6


class GlobalResponseNorm(nn.Layer):
    """Channel competition by the response's norm over the image, (B, H, W, C) or (B, H * W, C) -> the same shape.

    G = ||x||_2 over the image, N = G / (mean over C of G + 1e-6), out = gamma * (x * N) + beta + x
    (ConvNeXt V2). The sum of squares overflows float16 at |x| of a few dozen, hence float32.
    """

    def __init__(self, channels: int):
        super().__init__()
        zeros = nn.initializer.Constant(0.0)
        self.gamma = self.create_parameter([1, 1, 1, channels], default_initializer=zeros)
        self.beta = self.create_parameter([1, 1, 1, channels], default_initializer=zeros)

    def forward(self, x):
        with float32_region():
            wide = x.astype("float32")
            gamma, beta = (p.astype("float32").reshape([1, 1, -1]) for p in (self.gamma, self.beta))
            if paddle.is_grad_enabled() and eager_on_cpu():
                return _ResponseNorm.apply(wide, gamma, beta).astype(x.dtype)
            relative, *_ = relative_response(sum_over_image(wide * wide))
            return scale_and_shift(wide, 1 + gamma * relative, beta).astype(x.dtype)


def relative_response(sums):
    """Sums of squares (B, 1, C) -> N, G and what G was divided by, (B, 1, 1)."""
    # A channel that is 0 everywhere has no gradient; the root's own is infinite there, and 0 x infinity is NaN
    response = sums.clip(min=SMALLEST).sqrt()
    # Not `mean`, for each of which Paddle prints a line where a program is compiled
    divisor = response.sum(axis=-1, keepdim=True) / response.shape[-1] + EPS
    return response / divisor, response, divisor


class _ResponseNorm(PyLayer):
    """The norm with its own gradient, for eager mode on a CPU: it keeps its input alone, and makes fewer passes over it.

    With s the sums of squares, out = x * scale(s) + beta and h the gradient of s that comes back through scale, the
    gradient of x is g * scale + 2 * x * h.
    """

    @staticmethod
    def forward(ctx, x, gamma, beta):
        x = x.contiguous()  # see `ldm.networks.layers.norms`
        sums = sum_over_image(x * x)
        relative, *_ = relative_response(sums)
        ctx.wanted = [not tensor.stop_gradient for tensor in (x, gamma, beta)]
        ctx.save_for_backward(x, gamma, sums)
        return scaled_and_shifted(x, 1 + gamma * relative, beta)

    @staticmethod
    def backward(ctx, gradient):
        x, gamma, sums = ctx.saved_tensor()
        of_x, of_gamma, of_beta = ctx.wanted
        relative, response, divisor = relative_response(sums)
        of_scale = sum_over_image(gradient * x)  # (B, 1, C)
        found = [None, None, None]
        if of_x:
            of_relative = of_scale * gamma
            of_divisor = -(of_relative * relative).sum(axis=-1, keepdim=True) / divisor
            of_response = of_relative / divisor + of_divisor / response.shape[-1]
            of_sums = paddle.where(sums > SMALLEST, of_response / (2 * response), paddle.zeros_like(sums))
            through_response = over_image(2 * of_sums, x).multiply_(x)
            found[0] = over_image(1 + gamma * relative, x).multiply_(gradient).add_(through_response)
        if of_gamma:
            found[1] = (of_scale * relative).sum(axis=0, keepdim=True)
        if of_beta:
            found[2] = sum_over_image(gradient).sum(axis=0, keepdim=True)
        return tuple(found)
