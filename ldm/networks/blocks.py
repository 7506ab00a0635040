"""The four block types of the cascade's UNets, channels last, all called as `block(x, conditioning)`.

C: ResBlock (ConvNeXt V2 with GlobalResponseNorm), T: TimestepBlock, A: AttnBlock, F: FeedForwardBlock.
Attribute names are the release's, since they are the checkpoint's keys.
"""

from dataclasses import dataclass, field
from typing import Optional

import paddle
from paddle import nn

from ldm.networks.attention import Attention2D
from ldm.networks.layers.activations import GELU, Dropout, SiLU
from ldm.networks.layers.convolution import DepthwiseConv2D, conv
from ldm.networks.layers.linear import linear
from ldm.networks.layers.norms import GlobalResponseNorm, LayerNorm2D, scale_and_shift
from ldm.networks.layers.resample import resize, to_channels_last


@dataclass
class Conditioning:
    """What every block of one forward pass may look at."""

    timesteps: list  # one (B, c_r) embedding for r, then one per extra condition (sca, crp)
    tokens: Optional[paddle.Tensor]  # (B, S, c_cond) conditioning tokens
    control: object = None  # iterator over ControlNet residuals (B, C, h, w) or None, one per residual block visited
    keys_and_values: dict = field(default_factory=dict)  # AttnBlock -> those of the tokens, (B, S, 2C), if known

    def add_control(self, x):
        """Add the next ControlNet residual, resized, to x (B, H, W, C)."""
        residual = next(self.control, None) if self.control is not None else None
        if residual is None:
            return x
        return x + to_channels_last(resize(residual, x.shape[1:3])).astype(x.dtype)


def channel_mlp(c_in: int, c: int, dropout: float, residual_scale: float) -> nn.Sequential:
    """Linear to 4c, GELU, GlobalResponseNorm, dropout, Linear to c; indices 0 to 4 are checkpoint keys."""
    last = nn.initializer.XavierUniform(gain=residual_scale)
    return nn.Sequential(
        linear(c_in, 4 * c), GELU(), GlobalResponseNorm(4 * c), Dropout(dropout), linear(4 * c, c, last)
    )


class ResBlock(nn.Layer):
    """Depthwise convolution, norm, [concatenate the skip], channel MLP, residual."""

    takes_control = True

    def __init__(self, c, c_skip=0, kernel_size=3, dropout=0.0, residual_scale=1.0):
        super().__init__()
        self.depthwise = conv(c, c, kernel_size, cls=DepthwiseConv2D, padding=kernel_size // 2, groups=c)
        self.norm = LayerNorm2D(c)
        self.channelwise = channel_mlp(c + c_skip, c, dropout, residual_scale)

    def forward(self, x, conditioning, skip=None):
        y = self.norm(self.depthwise(x))
        if skip is not None:
            y = paddle.concat([y, skip.astype(y.dtype)], axis=-1)
        return x + self.channelwise(y)


class FeedForwardBlock(nn.Layer):
    """A ResBlock without the convolution."""

    takes_control = False

    def __init__(self, c, dropout=0.0, residual_scale=1.0):
        super().__init__()
        self.norm = LayerNorm2D(c)
        self.channelwise = channel_mlp(c, c, dropout, residual_scale)

    def forward(self, x, conditioning):
        return x + self.channelwise(self.norm(x))


class TimestepBlock(nn.Layer):
    """x * (1 + a) + b with (a, b) summed over one Linear per timestep-like condition."""

    takes_control = False

    def __init__(self, c, c_timestep, conds=("sca",)):
        super().__init__()
        zeros = nn.initializer.Constant(0.0)
        self.mapper = linear(c_timestep, 2 * c, zeros)
        self.conds = tuple(conds)
        for name in self.conds:
            setattr(self, f"mapper_{name}", linear(c_timestep, 2 * c, zeros))

    def forward(self, x, conditioning):
        mappers = [self.mapper] + [getattr(self, f"mapper_{name}") for name in self.conds]
        shift = sum(
            mapper(embedding.astype(mapper.weight.dtype)) for mapper, embedding in zip(mappers, conditioning.timesteps)
        )
        a, b = shift.unsqueeze(1).chunk(2, axis=-1)  # (B, 1, C) each
        return scale_and_shift(x, 1 + a, b)


class AttnBlock(nn.Layer):
    """Attention over the block's own pixels and the conditioning tokens, residual."""

    takes_control = False

    def __init__(self, c, c_cond, heads, self_attn=True, dropout=0.0):
        super().__init__()
        self.self_attn = self_attn
        self.norm = LayerNorm2D(c)
        self.attention = Attention2D(c, heads, dropout)
        self.kv_mapper = nn.Sequential(SiLU(), linear(c_cond, c))

    def forward(self, x, conditioning):
        known = conditioning.keys_and_values.get(self)
        if known is not None:
            return x + self.attention.prepared(self.norm(x), known, self.self_attn)
        return x + self.attention(self.norm(x), self.kv_mapper(conditioning.tokens), self.self_attn)

    def keys_and_values(self, tokens):
        """Conditioning tokens (B, S, c_cond) -> their keys and values (B, S, 2C), which are the same in every step."""
        return self.attention.attn.keys_and_values(self.kv_mapper(tokens))
