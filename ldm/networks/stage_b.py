"""Stage B, the decoder: a 16-channel prior latent to Stage A's 4-channel latent of 1/4 the image size (release)."""

import paddle
from paddle import nn

from ldm.networks.blocks import Conditioning
from ldm.networks.layers.activations import GELU
from ldm.networks.layers.convolution import Conv2D, Conv2DTranspose, conv
from ldm.networks.layers.linear import linear
from ldm.networks.layers.norms import LayerNorm2D
from ldm.networks.layers.resample import resize, resize_channels_last, to_channels_last
from ldm.networks.levels import build_levels
from ldm.networks.unet import CascadeUNet, Prepared


class StageB(CascadeUNet):
    """The decoder's UNet. Constructor arguments and their defaults (1.5B, called "3B") are the release's."""

    def __init__(
        self,
        c_in=4,
        c_out=4,
        c_r=64,  # width of the timestep embedding
        patch_size=2,
        c_cond=1280,  # width of the conditioning tokens
        c_hidden=(320, 640, 1280, 1280),  # width per level
        nhead=(-1, -1, 20, 20),
        blocks=((2, 6, 28, 6), (6, 28, 6, 2)),  # units per level: down, then up from the deepest
        block_repeat=((1, 1, 1, 1), (3, 3, 2, 2)),  # runs per level, same order
        level_config=("CT", "CT", "CTA", "CTA"),  # C: ResBlock, T: TimestepBlock, A: AttnBlock, F: FeedForwardBlock
        c_clip=1280,
        c_clip_seq=4,  # tokens per pooled text embedding
        c_effnet=16,
        c_pixels=3,
        kernel_size=3,
        dropout=(0, 0, 0.1, 0.1),
        self_attn=True,
        t_conds=("sca",),  # extra timestep-like conditions
        prediction_type="epsilon",  # or "v_prediction"
        sees_preview=False,  # its `pixels` are the preview of the prior's latent, see `ModelB.small_image`; the release's: not
    ):
        levels = build_levels(c_hidden, nhead, blocks, block_repeat, level_config, dropout, self_attn)
        super().__init__(levels, c_in, c_out, c_r, patch_size, c_cond, kernel_size, t_conds, prediction_type)
        self.c_clip_seq, self.c_pixels, self.sees_preview = c_clip_seq, c_pixels, sees_preview
        self.effnet_mapper = _stem_mapper(c_effnet, levels[0].channels)
        self.pixels_mapper = _stem_mapper(c_pixels, levels[0].channels)
        self.clip_mapper = linear(c_clip, c_cond * c_clip_seq, nn.initializer.Normal(std=0.02))
        self.clip_norm = LayerNorm2D(c_cond)

    def make_downscaler(self, gap, upper, lower):
        return nn.Sequential(LayerNorm2D(upper.channels), _halving(Conv2D, upper.channels, lower.channels))

    def make_upscaler(self, gap, lower, upper):
        return nn.Sequential(LayerNorm2D(lower.channels), _halving(Conv2DTranspose, lower.channels, upper.channels))

    def embed_tokens(self, clip):
        """Pooled text (B, [N,] c_clip) -> (B, 4 N, c_cond)."""
        tokens = self.clip_mapper(clip.astype(self.dtype))
        return self.clip_norm(tokens.reshape([clip.shape[0], -1, self.clip_norm.channels]))

    def embed_stem(self, size, effnet, pixels=None):
        """The prior's latent and the pixels, mapped, as they are laid over a latent of `size` (H, W): (B, h, w, C)."""
        if pixels is None:
            pixels = paddle.zeros([effnet.shape[0], self.c_pixels, 8, 8])
        size = [side // self.patch_size for side in size]
        mapped_pixels = self.pixels_mapper(to_channels_last(pixels.astype(self.dtype)))
        mapped = self.effnet_mapper(to_channels_last(resize(effnet.astype(self.dtype), size)))
        return mapped + resize_channels_last(mapped_pixels, size)

    def forward(self, x, r, effnet, clip, pixels=None, **t_conds):
        """Predict the noise in x, or the velocity.

        x (B, 4, H, W); r (B,) noise level in [0, 1], float32; effnet (B, 16, h, w) the prior's latent;
        clip (B, 1, c_clip) pooled text; pixels (B, 3, h', w') an optional small image, zeros when absent;
        t_conds: `sca` (B,), 0 when absent. Returns (B, 4, H, W) in the weights' dtype.
        """
        conditioning = Conditioning(timesteps=self.embed_timesteps(r, t_conds), tokens=self.embed_tokens(clip))
        return self.predict(x, conditioning, self.embed_stem(x.shape[2:], effnet, pixels))

    def prepare(self, size, effnet, clip, pixels=None, **t_conds) -> Prepared:
        stem = self.embed_stem(size, effnet, pixels)
        return Prepared(self.keys_and_values(self.embed_tokens(clip)), stem, t_conds=t_conds)


def _stem_mapper(c_in, c):
    """Linear to 4c, GELU, Linear to c, norm: indices 0, 2 are checkpoint keys."""
    normal = nn.initializer.Normal(std=0.02)
    return nn.Sequential(linear(c_in, 4 * c, normal), GELU(), linear(4 * c, c, normal), LayerNorm2D(c))


def _halving(cls, c_in, c_out):
    """A 2x2 convolution of stride 2, or its transpose."""
    return conv(c_in, c_out, 2, cls=cls, stride=2)
