"""Stage A's block with its six scalars in the weights, its MLP some rows at a time."""

import paddle

from ldm.networks.layers.convolution import convolve
from ldm.networks.layers.fast.switch import eager_float32
from ldm.networks.layers.linear import linear_map

IN_CACHE = 3 * 2**20  # activations (12 MB) that are worth computing at a time on a CPU


def scalars_in_weights(formula, block, x):
    """`GatedResBlock.forward`: the scalars multiplied into the weights, which are small beside the image.

    With n the norm, gate * (W ((1 + scale) * n + shift) + b) is ((1 + scale) * gate * W) n + gate * (shift * W 1 + b).
    """
    scale1, shift1, gate1, scale2, shift2, gate2 = block.gammas.unbind()
    pad, depthwise = block.depthwise
    weight = depthwise.weight * ((1 + scale1) * gate1)
    bias = gate1 * (shift1 * depthwise.weight.sum(axis=[1, 2, 3]) + depthwise.bias)
    x = x + convolve(depthwise, pad(block.norm1(x)), weight, bias)

    widen, act, narrow = block.channelwise
    bias = shift2 * widen.weight.sum(axis=0) + widen.bias
    inner = widen.weight * (1 + scale2), bias
    outer = narrow.weight * gate2, narrow.bias * gate2
    hidden = widen.weight.shape[1]
    return x + in_rows(lambda y: linear_map(act(linear_map(y, *inner)), *outer), block.norm2(x), hidden)


def in_rows(mlp, x, hidden: int):
    """mlp on x (B, H, W, C), which has `hidden` activations per position; without gradients on a CPU some rows at a time.

    Their activations stay in the processor's cache, and in memory there are no more of them.
    """
    batch, height, width, channels = x.shape
    at_once = max(1, IN_CACHE // hidden)
    positions = batch * height * width
    on_cpu = paddle.get_device() == "cpu" and eager_float32(x)
    if positions <= at_once or paddle.is_grad_enabled() or not on_cpu:
        return mlp(x)
    rows = x.reshape([1, positions, channels])
    parts = [mlp(rows[:, first : first + at_once]) for first in range(0, positions, at_once)]
    return paddle.concat(parts, axis=1).reshape([batch, height, width, -1])
