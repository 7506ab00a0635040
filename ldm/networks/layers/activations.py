"""GELU, SiLU and dropout."""

from paddle import nn
from paddle.nn import functional as F

from ldm.networks.layers.fast import gradients
from ldm.networks.layers.fast.switch import faster

# Paddle's name for SiLU, x * sigmoid(x). The gradient of `nn.Silu` is NaN below -88, where exp(-x) overflows (3.3.1).
SiLU = nn.Swish


@faster(gradients.gelu_gradient)
def gelu(x):
    """x * Phi(x), exactly, with the normal distribution Phi."""
    return F.gelu(x)


class GELU(nn.Layer):
    """`gelu` as a layer."""

    def forward(self, x):
        return gelu(x)


def dropout(x, p: float, training: bool):
    """`F.dropout`, or x itself where nothing is dropped: Paddle copies it there."""
    return F.dropout(x, p, training=True) if training and p > 0 else x


class Dropout(nn.Dropout):
    """`nn.Dropout`, computed by `dropout`."""

    def forward(self, x):
        return dropout(x, self.p, self.training)
