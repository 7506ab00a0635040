"""The previewer: a prior latent straight to a small image, to be shown during sampling and training (release)."""

from paddle import nn

from ldm.networks.layers.activations import GELU
from ldm.networks.layers.convolution import conv


class Previewer(nn.Layer):
    """Latent (B, 16, h, w) -> image (B, 3, 8 h, 8 w), in [0, 1] up to overshoot. Each step: conv, GELU, BatchNorm."""

    def __init__(self, c_in=16, c_hidden=512, c_out=3):
        super().__init__()
        half, quarter = c_hidden // 2, c_hidden // 4

        def step(c_from, c_to, kernel_size, **options):
            return [conv(c_from, c_to, kernel_size, **options), GELU(), nn.BatchNorm2D(c_to)]

        def double(c_from, c_to):
            return step(c_from, c_to, 2, cls=nn.Conv2DTranspose, stride=2) + step(c_to, c_to, 3, padding=1)

        self.blocks = nn.Sequential(
            *step(c_in, c_hidden, 1),
            *step(c_hidden, c_hidden, 3, padding=1),
            *double(c_hidden, half),
            *double(half, quarter),
            *double(quarter, quarter),
            conv(quarter, c_out, 1),
        )

    def forward(self, latent):
        return self.blocks(latent)
