"""EfficientNet-V2-S image encoder whose output the prior learns (EfficientNetV2, arXiv:2104.00298; release)."""

import math
from dataclasses import dataclass

import paddle
from paddle import nn

from ldm.networks.layers.activations import SiLU
from ldm.networks.layers.convolution import conv


@dataclass(frozen=True)
class Stage:
    """One stage of the backbone: `layers` blocks, the first with `stride`."""

    fused: bool  # fused MBConv (one 3x3 convolution expands) or MBConv (1x1, depthwise 3x3, squeeze-excitation)
    expand: int
    stride: int
    c_in: int
    c_out: int
    layers: int


V2_S = (
    Stage(True, 1, 1, 24, 24, 2),
    Stage(True, 4, 2, 24, 48, 4),
    Stage(True, 4, 2, 48, 64, 4),
    Stage(False, 4, 2, 64, 128, 6),
    Stage(False, 6, 1, 128, 160, 9),
    Stage(False, 6, 2, 160, 256, 15),
)
BACKBONE_CHANNELS = 1280
STRIDE = 32  # of the whole backbone: one latent cell per 32 pixels


class ConvNormAct(nn.Sequential):
    """Convolution without bias, BatchNorm (eps 1e-3), SiLU unless it is a projection."""

    def __init__(self, c_in, c_out, kernel_size=3, stride=1, groups=1, act=True, padding=None):
        padding = (kernel_size - 1) // 2 if padding is None else padding
        convolution = conv(c_in, c_out, kernel_size, stride=stride, padding=padding, groups=groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2D(c_out, epsilon=1e-3), *([SiLU()] if act else []))


class SqueezeExcitation(nn.Layer):
    """Channel gates from the image's mean."""

    def __init__(self, c, c_squeeze):
        super().__init__()
        self.fc1 = conv(c, c_squeeze, 1)
        self.fc2 = conv(c_squeeze, c, 1)
        self.act = SiLU()

    def forward(self, x):
        gate = x.mean(axis=[2, 3], keepdim=True)
        gate = self.act(self.fc1(gate))
        return x * nn.functional.sigmoid(self.fc2(gate))


class MBConv(nn.Layer):
    """Inverted bottleneck, fused or not; `block` and its indices are the checkpoint's keys."""

    def __init__(self, stage: Stage, c_in: int, stride: int):
        super().__init__()
        wide = c_in * stage.expand
        self.residual = stride == 1 and c_in == stage.c_out
        if stage.fused and stage.expand == 1:
            parts = [ConvNormAct(c_in, stage.c_out, 3, stride)]
        elif stage.fused:
            parts = [ConvNormAct(c_in, wide, 3, stride), ConvNormAct(wide, stage.c_out, 1, act=False)]
        else:
            parts = [
                ConvNormAct(c_in, wide, 1),
                ConvNormAct(wide, wide, 3, stride, groups=wide),
                SqueezeExcitation(wide, max(1, c_in // 4)),
                ConvNormAct(wide, stage.c_out, 1, act=False),
            ]
        self.block = nn.Sequential(*parts)

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


def backbone(stages=V2_S, channels: int = BACKBONE_CHANNELS, c_in: int = 3) -> nn.Sequential:
    """Image (B, c_in, H, W) -> (B, channels, ceil(H / 32), ceil(W / 32)); the children's numbers are checkpoint keys."""
    _check(stages)
    parts = [ConvNormAct(c_in, stages[0].c_in, 3, 2)]
    for stage in stages:
        first = MBConv(stage, stage.c_in, stage.stride)
        parts.append(nn.Sequential(first, *(MBConv(stage, stage.c_out, 1) for _ in range(stage.layers - 1))))
    parts.append(ConvNormAct(stages[-1].c_out, channels, 1))
    return nn.Sequential(*parts)


def _check(stages):
    stride = 2 * math.prod(stage.stride for stage in stages)  # the stem's is 2
    if stride != STRIDE:
        raise ValueError(f"The encoder's strides multiply to {stride}, the cascade needs {STRIDE}: {stages}.")
    for one, other in zip(stages, stages[1:]):
        if one.c_out != other.c_in:
            raise ValueError(f"A stage gives {one.c_out} channels, the next one takes {other.c_in}: {stages}.")


class EfficientNetEncoder(nn.Layer):
    """Backbone, 1x1 map to 16 channels, BatchNorm without affine: latents of mean 0 and standard deviation 1.

    stages: `Stage`s or their fields as dicts; the default is the release's V2-S.
    """

    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, applied in `encode`

    def __init__(self, c_latent=16, stages=V2_S, channels=BACKBONE_CHANNELS):
        super().__init__()
        self.c_latent = c_latent
        self.backbone = backbone([Stage(**stage) if isinstance(stage, dict) else stage for stage in stages], channels)
        norm = nn.BatchNorm2D(c_latent, epsilon=1e-5, weight_attr=False, bias_attr=False)
        self.mapper = nn.Sequential(conv(channels, c_latent, 1, bias=False), norm)

    def forward(self, image):
        """Normalised image (B, 3, H, W) -> latent (B, 16, ceil(H / 32), ceil(W / 32))."""
        return self.mapper(self.backbone(image))

    def encode(self, image):
        """Image in [0, 1] -> latent. Feeding [-1, 1] or unnormalised images gives washed-out training targets."""
        mean, std = (_channelwise(values, image) for values in (self.MEAN, self.STD))
        return self((image - mean) / std)


def _channelwise(values, like):
    return paddle.to_tensor(values, dtype=like.dtype).reshape([1, -1, 1, 1])
