"""Bilinear resizing and channels-first operators on channels-last tensors."""

from paddle import nn
from paddle.nn import functional as F

from ldm.precision import float32_region


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
        return F.interpolate(
            x.astype("float32"), size=[int(s) for s in size], mode="bilinear", align_corners=True
        ).astype(x.dtype)


def resize_channels_last(x, size):
    """`resize` for (B, H, W, C)."""
    if list(x.shape[1:3]) == list(size):
        return x
    return to_channels_last(resize(to_channels_first(x), size))


class ChannelsFirst(nn.Layer):
    """Mixin: run a channels-first layer's own forward on a channels-last tensor."""

    def forward(self, x):
        return to_channels_last(super().forward(to_channels_first(x)))


class Conv2D(ChannelsFirst, nn.Conv2D):
    """`nn.Conv2D` for (B, H, W, C)."""


class Conv2DTranspose(ChannelsFirst, nn.Conv2DTranspose):
    """`nn.Conv2DTranspose` for (B, H, W, C)."""


class PixelUnshuffle(nn.PixelUnshuffle):
    """(B, C, H, W) -> (B, H / p, W / p, C * p * p): the first step from an image-like tensor to tokens."""

    def forward(self, x):
        return to_channels_last(super().forward(x))


class PixelShuffle(nn.PixelShuffle):
    """(B, H, W, C * p * p) -> (B, C, H * p, W * p): back from tokens to an image-like tensor."""

    def forward(self, x):
        return super().forward(to_channels_first(x))
