"""The cascade's LayerNorm, channels last, always computed in float32 (StableCascade release)."""

import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from ldm.common.precision import float32_region
from ldm.networks.layers.broadcast import eager_on_cpu


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
