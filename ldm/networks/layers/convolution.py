"""Convolutions on channels-last tensors, initialised as the release initialises them."""

from paddle import nn
from paddle.nn import functional as F

from ldm.networks.layers.fast import convolution as fast
from ldm.networks.layers.fast.switch import faster
from ldm.networks.layers.resample import to_channels_first, to_channels_last


@faster(fast.bias_channels_last)
def convolve(layer, x, weight, bias):
    """A convolution `layer` (or its transpose) on x (B, H, W, C) with these weights instead of its own."""
    options = {"stride": layer._stride, "padding": layer._padding, "dilation": layer._dilation, "groups": layer._groups}
    function = F.conv2d
    if isinstance(layer, nn.Conv2DTranspose):
        function, options["output_padding"] = F.conv2d_transpose, layer.output_padding
    return to_channels_last(function(to_channels_first(x), weight, bias, **options))


class Conv2D(nn.Conv2D):
    """`nn.Conv2D`, padded with zeros, for (B, H, W, C)."""

    def forward(self, x):
        return convolve(self, x, self.weight, self.bias)


class Conv2DTranspose(nn.Conv2DTranspose):
    """`nn.Conv2DTranspose` for (B, H, W, C)."""

    def forward(self, x):
        return convolve(self, x, self.weight, self.bias)


class DepthwiseConv2D(Conv2D):
    """`Conv2D` with one odd, square kernel per channel and "same" padding."""

    @faster(fast.depthwise_by_bands)
    def forward(self, x):
        return Conv2D.forward(self, x)  # named, see `ldm.networks.layers.resample`


def conv(c_in: int, c_out: int, kernel_size: int, cls=nn.Conv2D, bias: bool = True, **options):
    """A channels-first convolution, or another one by `cls`, with the release's initialisation."""
    return cls(
        c_in,
        c_out,
        kernel_size,
        weight_attr=nn.initializer.XavierUniform(),
        bias_attr=nn.initializer.Constant(0.0) if bias else False,
        **options,
    )
