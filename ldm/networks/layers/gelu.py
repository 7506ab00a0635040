"""GELU whose gradient does not depend on how large its input is, in time."""

import math

import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from ldm.networks.layers.broadcast import eager_on_cpu

FAR = 12.0  # beyond it GELU's slope is 0 or 1 to all digits of float32, and exp(-x^2 / 2) is still a normal number


class GELU(nn.Layer):
    """`F.gelu`, exact; in eager mode on a CPU with its own gradient.

    Paddle's kernel computes exp(-x^2 / 2) through MKL, which calls an error handler for every number that underflows: for
    activations beyond 13, which trained networks have, the gradient took 30 times as long, half of a training step.
    """

    def forward(self, x):
        return _GELU.apply(x) if paddle.is_grad_enabled() and eager_on_cpu(x) else F.gelu(x)


class _GELU(PyLayer):
    """The gradient of `F.gelu` at x clipped to [-FAR, FAR], which is the one at x."""

    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()  # see `ldm.networks.layers.norms`
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensor()
        near = x.clip(-FAR, FAR)
        # The slope is Phi(x) + x * phi(x), of the normal distribution and its density
        slope = near.square().scale_(-0.5).exp_().scale_(1 / math.sqrt(2 * math.pi)).multiply_(near)
        slope.add_(paddle.erf(near.scale_(math.sqrt(0.5))).scale_(0.5, bias=0.5))
        return slope.multiply_(gradient)
