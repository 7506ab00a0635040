"""Linear maps and 1x1 convolutions on channels-last tensors, initialised as the release initialises them."""

from paddle import nn
from paddle.nn import functional as F

from ldm.networks.layers.fast import gradients
from ldm.networks.layers.fast.switch import faster


@faster(gradients.linear_by_addmm)
def linear_map(x, weight, bias):
    """x (..., c_in) times weight (c_in, c_out), plus bias (c_out,) or None -> (..., c_out)."""
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear`, computed by `linear_map`."""

    def forward(self, x):
        return linear_map(x, self.weight, self.bias)


class PointwiseConv2D(nn.Conv2D):
    """A 1x1 convolution with the weights of one, (out, in, 1, 1), on (B, H, W, C), computed by `linear_map`."""

    def forward(self, x):
        return linear_map(x, self.weight.flatten(1).transpose([1, 0]), self.bias)


def linear(c_in: int, c_out: int, init=None, bias: bool = True) -> Linear:
    """A `Linear` (weight stored (in, out)) with Xavier-uniform weights and zero bias unless `init` says otherwise.

    A 1x1 convolution on a channels-last tensor is this same layer; its checkpoint weight (out, in, 1, 1)
    becomes (in, out) in conversion.
    """
    weight = init if init is not None else nn.initializer.XavierUniform()
    return Linear(c_in, c_out, weight_attr=weight, bias_attr=nn.initializer.Constant(0.0) if bias else False)
