"""Linear maps and GELU, whose outputs at a position depend on that position alone."""

import math

import paddle
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from ldm.networks.layers.fast.switch import eager_float32, wanted
from ldm.networks.layers.fast.vectors import summed

FAR = 12.0  # beyond it GELU's slope is 0 or 1 to all digits of float32, and exp(-x^2 / 2) is still a normal number


def linear_by_addmm(formula, x, weight, bias):
    """`linear_map` in eager mode: the product adds to the bias, whose gradient is a product with ones.

    `F.linear` is a product, then a sum that broadcasts, whose gradient adds up rows 20 times slower. Single vectors
    (B, c_in) gain nothing.
    """
    if bias is None or x.ndim < 3 or not eager_float32(x, weight, bias):
        return formula(x, weight, bias)
    *sides, c_in = x.shape
    rows = x.reshape([math.prod(sides), c_in])
    # Not addmm's own gradient, which ends the process where a bias is frozen (Paddle 3.3.1)
    product = _LinearMap.apply(rows, weight, bias) if paddle.is_grad_enabled() else paddle.addmm(bias, rows, weight)
    return product.reshape([*sides, weight.shape[1]])


class _LinearMap(PyLayer):
    """x (N, c_in), weight, bias -> (N, c_out)."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.wanted = wanted(x, weight, bias)
        x, weight = x.contiguous(), weight.contiguous()  # see `layer_norm` in `ldm.networks.layers.fast.norms`
        ctx.save_for_backward(x, weight)
        return paddle.addmm(bias, x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensor()
        of_x, of_weight, of_bias = ctx.wanted
        return (
            paddle.matmul(gradient, weight, transpose_y=True) if of_x else None,
            paddle.matmul(x, gradient, transpose_x=True) if of_weight else None,
            summed(gradient.unsqueeze(0)).flatten() if of_bias else None,
        )


def gelu_gradient(formula, x):
    """`gelu` with a gradient that takes as long for large inputs as for small ones.

    Paddle's kernel computes exp(-x^2 / 2) through MKL, which calls an error handler for every number that underflows: for
    activations beyond 13, which trained networks have, the gradient took 30 times as long, half of a training step.
    """
    return _GELU.apply(x) if paddle.is_grad_enabled() and eager_float32(x) else formula(x)


class _GELU(PyLayer):
    """The gradient of `F.gelu` at x clipped to [-FAR, FAR], which is the one at x."""

    @staticmethod
    def forward(ctx, x):
        x = x.contiguous()  # see `layer_norm` in `ldm.networks.layers.fast.norms`
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
