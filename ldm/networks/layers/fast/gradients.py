"""Linear maps, GELU and the norms in eager mode with gradients of their own."""

import math

import paddle
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from ldm.networks import layers  # not layers.norms itself, which imports this file
from ldm.networks.layers.fast.switch import eager_float32, wanted
from ldm.networks.layers.fast.vectors import scaled_and_shifted, spread, summed

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
        x, weight = x.contiguous(), weight.contiguous()  # see `_LayerNorm`
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
        x = x.contiguous()  # see `_LayerNorm`
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


def layer_norm_gradient(formula, x, eps):
    """`layer_norm`, two to four times as fast in the backward pass: means, and spreading them, are products with ones."""
    return _LayerNorm.apply(x, eps) if paddle.is_grad_enabled() and eager_float32(x) else formula(x, eps)


class _LayerNorm(PyLayer):
    """With d = x - mean(x) and r = 1 / sqrt(mean(d^2) + eps), so that the output is d * r, the gradient of x is
    r * (g - mean(g) - d * r^2 * mean(g * d)).
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

        def over_channels(numbers):
            return paddle.matmul(numbers, ones)  # (..., C)

        d = x - over_channels(mean(x))
        r = (mean(d * d) + ctx.eps).rsqrt()
        along = mean(gradient * d) * r * r
        return (gradient - over_channels(mean(gradient)) - d * over_channels(along)) * over_channels(r)


def response_norm_gradient(formula, x, gamma, beta):
    """`response_norm`: keeps its input alone, and makes fewer passes over it."""
    trained = paddle.is_grad_enabled() and eager_float32(x, gamma, beta)
    return _ResponseNorm.apply(x, gamma, beta) if trained else formula(x, gamma, beta)


class _ResponseNorm(PyLayer):
    """With s the sums of squares, out = x * scale(s) + beta and h the gradient of s that comes back through scale, the
    gradient of x is g * scale + 2 * x * h.
    """

    @staticmethod
    def forward(ctx, x, gamma, beta):
        x = x.contiguous()  # see `_LayerNorm`
        sums = summed(x * x)
        relative, *_ = layers.norms.relative_response(sums)
        ctx.wanted = wanted(x, gamma, beta)
        ctx.save_for_backward(x, gamma, sums)
        return scaled_and_shifted(x, 1 + gamma * relative, beta)

    @staticmethod
    def backward(ctx, gradient):
        x, gamma, sums = ctx.saved_tensor()
        of_x, of_gamma, of_beta = ctx.wanted
        relative, response, divisor = layers.norms.relative_response(sums)
        of_scale = summed(gradient * x)  # (B, 1, C)
        found = [None, None, None]
        if of_x:
            of_relative = of_scale * gamma
            of_divisor = -(of_relative * relative).sum(axis=-1, keepdim=True) / divisor
            of_response = of_relative / divisor + of_divisor / response.shape[-1]
            of_sums = paddle.where(sums > layers.norms.SMALLEST, of_response / (2 * response), paddle.zeros_like(sums))
            through_response = spread(2 * of_sums, x).multiply_(x)
            found[0] = spread(1 + gamma * relative, x).multiply_(gradient).add_(through_response)
        if of_gamma:
            found[1] = (of_scale * relative).sum(axis=0, keepdim=True)
        if of_beta:
            found[2] = summed(gradient).sum(axis=0, keepdim=True)
        return tuple(found)
