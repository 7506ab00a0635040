"""Bilinear resizing, pixel (un)shuffling, and the two orders of axes."""

import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm.common.precision import float32_region


def to_channels_last(x):
    """(B, C, H, W) -> (B, H, W, C)."""
    return x.transpose([0, 2, 3, 1])


def to_channels_first(x):
    """(B, H, W, C) -> (B, C, H, W)."""
    return x.transpose([0, 3, 1, 2])


def resize(x, size):
    """Bilinear resize of (B, C, H, W) to `size` = (H', W') with aligned corners, in float32 as the release does."""
    if list(x.shape[-2:]) == list(size):
        return x
    with float32_region():
        # In a program oneDNN would take float32's resize, and it cannot read the operator's settings
        wide = x.astype("float32" if paddle.in_dynamic_mode() else "float64")
        return F.interpolate(wide, size=[int(s) for s in size], mode="bilinear", align_corners=True).astype(x.dtype)


def resize_channels_last(x, size):
    """`resize` for (B, H, W, C)."""
    if list(x.shape[1:3]) == list(size):
        return x
    return to_channels_last(resize(to_channels_first(x), size))


# The layers below name the class whose forward they call: `super()` in a forward cannot be traced to a program by
# `paddle.jit`, which then calls itself without end.


class PixelUnshuffle(nn.PixelUnshuffle):
    """(B, C, H, W) -> (B, H / p, W / p, C * p * p): the first step from an image-like tensor to tokens."""

    def forward(self, x):
        return to_channels_last(nn.PixelUnshuffle.forward(self, x))


class PixelShuffle(nn.PixelShuffle):
    """(B, H, W, C * p * p) -> (B, C, H * p, W * p): back from tokens to an image-like tensor."""

    def forward(self, x):
        return nn.PixelShuffle.forward(self, to_channels_first(x))
