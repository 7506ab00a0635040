"""Stage A, the VQ autoencoder: image in [0, 1] <-> 4-channel latent of 1/4 the size (VQGAN family; release).

Tensors are channels last between the first and the last convolution.
"""

import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm.networks.layers.activations import GELU
from ldm.networks.layers.convolution import Conv2D, Conv2DTranspose, conv
from ldm.networks.layers.fast import stage_a as fast
from ldm.networks.layers.fast.switch import faster
from ldm.networks.layers.linear import PointwiseConv2D, linear
from ldm.networks.layers.norms import LayerNorm2D
from ldm.networks.layers.resample import PixelShuffle, PixelUnshuffle, to_channels_first, to_channels_last


class GatedResBlock(nn.Layer):
    """Depthwise convolution, then channel MLP, each behind a norm with scalar scale, shift and gate (`gammas`)."""

    def __init__(self, c: int, c_hidden: int):
        super().__init__()
        self.norm1 = LayerNorm2D(c)
        padding = nn.Pad2D(1, mode="replicate", data_format="NHWC")
        self.depthwise = nn.Sequential(padding, conv(c, c, 3, cls=Conv2D, groups=c))
        self.norm2 = LayerNorm2D(c)
        self.channelwise = nn.Sequential(linear(c, c_hidden), GELU(), linear(c_hidden, c))
        self.gammas = self.create_parameter([6], default_initializer=nn.initializer.Constant(0.0))

    @faster(fast.scalars_in_weights, everywhere=True)
    def forward(self, x):  # (B, H, W, C)
        scale1, shift1, gate1, scale2, shift2, gate2 = self.gammas.unbind()
        x = x + gate1 * self.depthwise((1 + scale1) * self.norm1(x) + shift1)
        return x + gate2 * self.channelwise((1 + scale2) * self.norm2(x) + shift2)


class VectorQuantizer(nn.Layer):
    """Nearest entry of a learned codebook, with the straight-through gradient (VQ-VAE, arXiv:1711.00937)."""

    def __init__(self, c_latent: int, size: int):
        super().__init__()
        uniform = nn.initializer.Uniform(-1.0 / size, 1.0 / size)
        self.codebook = nn.Embedding(size, c_latent, weight_attr=uniform)

    def forward(self, x):
        """x (B, C, H, W) -> quantised (B, C, H, W), indices (B, H, W), codebook loss, commitment loss (scalars)."""
        tokens = to_channels_last(x)  # (B, H, W, C)
        codes = self.codebook.weight
        distance = (codes**2).sum(-1) - 2 * paddle.matmul(tokens, codes, transpose_y=True)  # (B, H, W, size) + const.
        indices = distance.argmin(axis=-1)
        quantised = self.codebook(indices)
        codebook_loss = F.mse_loss(quantised, tokens.detach())
        commitment_loss = F.mse_loss(tokens, quantised.detach())
        quantised = tokens + (quantised - tokens).detach()
        return to_channels_first(quantised), indices, codebook_loss, commitment_loss


class StageA(nn.Layer):
    """The autoencoder. Sampling uses `decode` on Stage B's latent; `quantize` is for training it."""

    def __init__(
        self,
        levels=2,  # resolutions below the first x2 pixel unshuffle
        bottleneck_blocks=12,
        c_hidden=384,
        c_latent=4,
        codebook_size=8192,
        scale_factor=0.43,  # latents are divided by it, so that they have a standard deviation of about 1
    ):
        super().__init__()
        if levels < 1 or c_hidden % 2 ** (levels - 1):
            raise ValueError(f"c_hidden {c_hidden} must divide by 2^(levels - 1), levels is {levels}.")
        self.c_latent, self.scale_factor = c_latent, scale_factor
        self.downscale = 2**levels
        widths = [c_hidden // 2 ** (levels - 1 - i) for i in range(levels)]

        # Encoder
        self.in_block = nn.Sequential(PixelUnshuffle(2), conv(3 * 4, widths[0], 1, cls=PointwiseConv2D))
        down = []
        for i, width in enumerate(widths):
            if i > 0:
                down.append(conv(widths[i - 1], width, 4, cls=Conv2D, stride=2, padding=1))
            down.append(GatedResBlock(width, 4 * width))
        to_latent = conv(widths[-1], c_latent, 1, cls=PointwiseConv2D, bias=False)
        down.append(nn.Sequential(to_latent, nn.BatchNorm2D(c_latent, data_format="NHWC")))
        self.down_blocks = nn.Sequential(*down)
        self.vquantizer = VectorQuantizer(c_latent, codebook_size)

        # Decoder
        up = [nn.Sequential(conv(c_latent, widths[-1], 1, cls=PointwiseConv2D))]
        for i, width in enumerate(reversed(widths)):
            up += [GatedResBlock(width, 4 * width) for _ in range(bottleneck_blocks if i == 0 else 1)]
            if i < levels - 1:
                up.append(conv(width, width // 2, 4, cls=Conv2DTranspose, stride=2, padding=1))
        self.up_blocks = nn.Sequential(*up)
        self.out_block = nn.Sequential(conv(widths[0], 3 * 4, 1, cls=PointwiseConv2D), PixelShuffle(2))

    def encode(self, image):
        """Image (B, 3, H, W) in [0, 1], sides divisible by 4 -> unquantised latent (B, 4, H / 4, W / 4)."""
        return to_channels_first(self.down_blocks(self.in_block(image))) / self.scale_factor

    def quantize(self, latent):
        """Latent (B, 4, h, w) -> its quantised form, same shape, and the loss: codebook + 0.25 x commitment."""
        quantised, _, codebook_loss, commitment_loss = self.vquantizer(latent * self.scale_factor)
        return quantised / self.scale_factor, codebook_loss + 0.25 * commitment_loss

    def decode(self, latent):
        """Latent (B, 4, h, w) -> image (B, 3, 4 h, 4 w), in [0, 1] up to overshoot (not clamped)."""
        return self.out_block(self.up_blocks(to_channels_last(latent * self.scale_factor)))
