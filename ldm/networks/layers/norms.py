"""The cascade's norms and its scaling by vectors, channels last: LayerNorm and GlobalResponseNorm always in float32.

Images are (B, H, W, C) or, their positions in one axis, (B, N, C); vectors are (B or 1, 1, C).
"""

from paddle import nn
from paddle.nn import functional as F

from ldm.common.precision import float32_region
from ldm.networks.layers.fast import gradients, vectors
from ldm.networks.layers.fast.switch import faster

SMALLEST = 1e-30  # sum of squares; its root is nothing beside EPS
EPS = 1e-6


class LayerNorm2D(nn.Layer):
    """LayerNorm over the last axis without learned scale or shift: (..., C) -> (..., C) (StableCascade release)."""

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.channels, self.eps = channels, eps

    def forward(self, x):
        with float32_region():
            return layer_norm(x.astype("float32"), self.eps).astype(x.dtype)


@faster(gradients.layer_norm_gradient)
def layer_norm(x, eps):
    """(x - mean) / sqrt(variance + eps), both over the last axis."""
    return F.layer_norm(x, [x.shape[-1]], None, None, eps)


class GlobalResponseNorm(nn.Layer):
    """Channel competition by the response's norm over the image: image -> the same shape (ConvNeXt V2, arXiv:2301.00808).

    The sum of squares overflows float16 at |x| of a few dozen, hence float32.
    """

    def __init__(self, channels: int):
        super().__init__()
        zeros = nn.initializer.Constant(0.0)
        self.gamma = self.create_parameter([1, 1, 1, channels], default_initializer=zeros)
        self.beta = self.create_parameter([1, 1, 1, channels], default_initializer=zeros)

    def forward(self, x):
        with float32_region():
            gamma, beta = (p.astype("float32").reshape([1, 1, -1]) for p in (self.gamma, self.beta))
            return response_norm(x.astype("float32"), gamma, beta).astype(x.dtype)


@faster(gradients.response_norm_gradient)
def response_norm(x, gamma, beta):
    """gamma * (x * N) + beta + x, with G = ||x||_2 over the image and N = G / (mean over C of G + 1e-6)."""
    relative, *_ = relative_response(sum_over_image(x * x))
    return scale_and_shift(x, 1 + gamma * relative, beta)


def relative_response(sums):
    """Sums of squares (B, 1, C) -> N, G and what G was divided by, (B, 1, 1)."""
    # A channel that is 0 everywhere has no gradient; the root's own is infinite there, and 0 x infinity is NaN
    response = sums.clip(min=SMALLEST).sqrt()
    # Not `mean`, for each of which Paddle prints a line where a program is compiled
    divisor = response.sum(axis=-1, keepdim=True) / response.shape[-1] + EPS
    return response / divisor, response, divisor


@faster(vectors.scale_in_place)
def scale_and_shift(x, scale, shift):
    """x * scale + shift for an image and two vectors."""
    if x.ndim == 4:
        scale, shift = scale.unsqueeze(1), shift.unsqueeze(1)  # (B or 1, 1, 1, C)
    return x * scale + shift


@faster(vectors.sum_by_product)
def sum_over_image(x):
    """An image -> (B, 1, C)."""
    return x.flatten(1, -2).sum(axis=1, keepdim=True)
