"""Normalisations of the cascade, channels last, always computed in float32 (StableCascade release; ConvNeXt V2)."""

import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from ldm.networks.broadcast import eager_on_cpu, scale_and_shift, sum_over_image
from ldm.precision import float32_region

SMALLEST = 1e-30  # sum of squares; its root is nothing beside the 1e-6 it is added to


class LayerNorm2D(nn.Layer):
    """LayerNorm over the last axis without learned scale or shift: (..., C) -> (..., C)."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.channels, self.eps = channels, eps

    def forward(self, x):
        with float32_region():
            wide = x.astype("float32")
            if paddle.is_grad_enabled() and eager_on_cpu():
                return _LayerNorm.apply(wide, self.eps).astype(x.dtype)
            return F.layer_norm(wide, [self.channels], None, None, self.eps).astype(x.dtype)


class _LayerNorm(PyLayer):
    """`F.layer_norm` over the last axis; two to four times the speed of Paddle's CPU kernel in the backward pass.

    With d = x - mean(x) and r = 1 / sqrt(mean(d^2) + eps), so that the output is d * r, the gradient of x is
    r * (g - mean(g) - d * r^2 * mean(g * d)). Means, and spreading them, are products with ones.
    """

    @staticmethod
    def forward(ctx, x, eps):
        x = x.contiguous()  # Paddle's recompute gives back a transposed view with its numbers out of order
        ctx.save_for_backward(x)
        ctx.eps = eps
        return F.layer_norm(x, [x.shape[-1]], None, None, eps)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensor()
        channels = x.shape[-1]
        mean_weights, ones = paddle.full([channels, 1], 1 / channels), paddle.ones([1, channels])

        def mean(image):
            return paddle.matmul(image, mean_weights)  # (..., 1)

        def spread(numbers):
            return paddle.matmul(numbers, ones)  # (..., C)

        d = x - spread(mean(x))
        r = (mean(d * d) + ctx.eps).rsqrt()
        along = mean(gradient * d) * r * r
        return (gradient - spread(mean(gradient)) - d * spread(along)) * spread(r)


class GlobalResponseNorm(nn.Layer):
    """Channel competition by the response's norm over the image, (B, H, W, C) or (B, H * W, C) -> the same shape.

    G = ||x||_2 over the image, N = G / (mean over C of G + 1e-6), out = gamma * (x * N) + beta + x
    (ConvNeXt V2, arXiv:2301.00808). The sum of squares overflows float16 at |x| of a few dozen, hence float32.
    """

    def __init__(self, channels: int):
        super().__init__()
        zeros = nn.initializer.Constant(0.0)
        self.gamma = self.create_parameter([1, 1, 1, channels], default_initializer=zeros)
        self.beta = self.create_parameter([1, 1, 1, channels], default_initializer=zeros)

    def forward(self, x):
        with float32_region():
            wide = x.astype("float32")
            # `square` has one gradient where the product has two to add; in a program oneDNN is slower at it
            squares = wide.square() if eager_on_cpu() else wide * wide
            # A channel that is 0 everywhere has no gradient; the root's own is infinite there, and 0 x infinity is NaN
            response = sum_over_image(squares).clip(min=SMALLEST).sqrt()  # (B, 1, C)
            # Not `mean`, for each of which Paddle prints a line where a program is compiled
            mean = response.sum(axis=-1, keepdim=True) / response.shape[-1]
            relative = response / (mean + 1e-6)
            gamma, beta = (p.astype("float32").reshape([1, 1, -1]) for p in (self.gamma, self.beta))
            return scale_and_shift(wide, 1 + gamma * relative, beta).astype(x.dtype)
