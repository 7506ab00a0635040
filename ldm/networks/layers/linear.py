"""Linear maps and 1x1 convolutions on channels-last tensors, initialised as the release initialises them."""

import math

import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F

from ldm.networks.layers.broadcast import eager_on_cpu, sum_over_image


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear_map`."""

    def forward(self, x):
        return linear_map(x, self.weight, self.bias)


def linear_map(x, weight, bias):
    """`F.linear` for x (..., c_in), weight (c_in, c_out), bias (c_out,) or None; in eager mode on a CPU, faster.

    There `F.linear` is a product, then a sum that broadcasts, whose gradient adds up rows 20 times slower than a product
    with ones does. `addmm` lets the product add to the bias. Single vectors (B, c_in) gain nothing from it.
    """
    if bias is None or x.ndim < 3 or not eager_on_cpu(x, weight, bias):
        return F.linear(x, weight, bias)
    *sides, c_in = x.shape
    rows = x.reshape([math.prod(sides), c_in])
    # Not addmm's own gradient, which ends the process where a bias is frozen (Paddle 3.3.1)
    product = _LinearMap.apply(rows, weight, bias) if paddle.is_grad_enabled() else paddle.addmm(bias, rows, weight)
    return product.reshape([*sides, weight.shape[1]])


class PointwiseConv2D(nn.Conv2D):
    """A 1x1 convolution with the weights of one, (out, in, 1, 1), on (B, H, W, C), computed by `linear_map`."""

    def forward(self, x):
        return linear_map(x, self.weight.flatten(1).transpose([1, 0]), self.bias)


class _LinearMap(PyLayer):
    """x (N, c_in), weight, bias -> (N, c_out); the bias's gradient is a product with ones."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.wanted = [not tensor.stop_gradient for tensor in (x, weight, bias)]
        x, weight = x.contiguous(), weight.contiguous()  # see `ldm.networks.layers.norms`
        ctx.save_for_backward(x, weight)
        return paddle.addmm(bias, x, weight)

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensor()
        of_x, of_weight, of_bias = ctx.wanted
        return (
            paddle.matmul(gradient, weight, transpose_y=True) if of_x else None,
            paddle.matmul(x, gradient, transpose_x=True) if of_weight else None,
            sum_over_image(gradient.unsqueeze(0)).flatten() if of_bias else None,
        )


def linear(c_in: int, c_out: int, init=None, bias: bool = True) -> Linear:
    """A `Linear` (weight stored (in, out)) with Xavier-uniform weights and zero bias unless `init` says otherwise.

    A 1x1 convolution on a channels-last tensor is this same layer; its checkpoint weight (out, in, 1, 1)
    becomes (in, out) in conversion.
    """
    weight = init if init is not None else nn.initializer.XavierUniform()
    return Linear(c_in, c_out, weight_attr=weight, bias_attr=nn.initializer.Constant(0.0) if bias else False)


def conv(c_in: int, c_out: int, kernel_size: int, cls=nn.Conv2D, bias: bool = True, **options):
    """A channels-first convolution (or its transpose, by `cls`) with the release's initialisation."""
    return cls(
        c_in,
        c_out,
        kernel_size,
        weight_attr=nn.initializer.XavierUniform(),
        bias_attr=nn.initializer.Constant(0.0) if bias else False,
        **options,
    )
