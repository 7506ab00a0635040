"""Stage C, the prior: text to a 16-channel latent of 1/42.67 the image size (Wuerstchen, arXiv:2306.00637; release)."""

from typing import Optional

import paddle
from paddle import nn

from ldm.networks.blocks import Conditioning
from ldm.networks.layers.linear import linear
from ldm.networks.layers.norms import LayerNorm2D
from ldm.networks.layers.resample import resize_channels_last
from ldm.networks.levels import build_levels
from ldm.networks.unet import CascadeUNet, Prepared


class UpDownBlock2D(nn.Layer):
    """1x1 map between levels, with a bilinear x0.5 (mode "down") or x2 ("up") where `enabled`; both in float32 sizes."""

    def __init__(self, c_in, c_out, mode: str, enabled: bool):
        super().__init__()
        self.factor = {"down": 0.5, "up": 2}[mode] if enabled else 1
        mapping, resample = linear(c_in, c_out), nn.Identity()
        self.mapping_index = 0 if mode == "down" else 1  # its position is part of the checkpoint's key
        self.blocks = nn.LayerList([mapping, resample] if mode == "down" else [resample, mapping])

    def rescale(self, x):
        return resize_channels_last(x, [int(side * self.factor) for side in x.shape[1:3]])

    def forward(self, x):
        mapping = self.blocks[self.mapping_index]
        return self.rescale(mapping(x)) if self.mapping_index == 0 else mapping(self.rescale(x))


class StageC(CascadeUNet):
    """The prior's UNet. Constructor arguments and their defaults (3.6B) are the release's; see `variants`."""

    def __init__(
        self,
        c_in=16,
        c_out=16,
        c_r=64,  # width of the timestep embedding
        patch_size=1,
        c_cond=2048,  # width of the conditioning tokens
        c_hidden=(2048, 2048),  # width per level
        nhead=(32, 32),
        blocks=((8, 24), (24, 8)),  # units per level: down, then up from the deepest
        block_repeat=((1, 1), (1, 1)),  # runs per level, same order
        level_config=("CTA", "CTA"),  # C: ResBlock, T: TimestepBlock, A: AttnBlock, F: FeedForwardBlock
        c_clip_text=1280,
        c_clip_text_pooled=1280,
        c_clip_img=768,
        c_clip_seq=4,  # tokens per pooled text or image embedding
        kernel_size=3,
        dropout=(0.1, 0.1),
        self_attn=True,
        t_conds=("sca", "crp"),  # extra timestep-like conditions
        switch_level=(False,),  # halve the resolution between levels
        prediction_type="epsilon",  # or "v_prediction"
    ):
        self.switch_level = _check_switches(switch_level, len(c_hidden))
        levels = build_levels(c_hidden, nhead, blocks, block_repeat, level_config, dropout, self_attn)
        super().__init__(levels, c_in, c_out, c_r, patch_size, c_cond, kernel_size, t_conds, prediction_type)
        self.c_clip_seq = c_clip_seq
        normal = nn.initializer.Normal(std=0.02)
        self.clip_txt_mapper = linear(c_clip_text, c_cond, normal)
        self.clip_txt_pooled_mapper = linear(c_clip_text_pooled, c_cond * c_clip_seq, normal)
        self.clip_img_mapper = linear(c_clip_img, c_cond * c_clip_seq, normal)
        self.clip_norm = LayerNorm2D(c_cond)

    def make_downscaler(self, gap, upper, lower):
        block = UpDownBlock2D(upper.channels, lower.channels, "down", self.switch_level[gap])
        return nn.Sequential(LayerNorm2D(upper.channels), block)

    def make_upscaler(self, gap, lower, upper):
        block = UpDownBlock2D(lower.channels, upper.channels, "up", self.switch_level[gap])
        return nn.Sequential(LayerNorm2D(lower.channels), block)

    def embed_tokens(self, clip_text, clip_text_pooled, clip_img):
        """Text (B, L, c), pooled text (B, [1,] c) and N image embeddings (B, [N,] c) -> (B, L + 4 + 4 N, c_cond)."""
        pooled, images = (
            mapper(_as_tokens(value).astype(self.dtype)).reshape([value.shape[0], -1, self.clip_norm.channels])
            for mapper, value in (
                (self.clip_txt_pooled_mapper, clip_text_pooled),
                (self.clip_img_mapper, clip_img),
            )
        )
        text = self.clip_txt_mapper(clip_text.astype(self.dtype))
        return self.clip_norm(paddle.concat([text, pooled, images], axis=1))

    def forward(self, x, r, clip_text, clip_text_pooled, clip_img, cnet: Optional[list] = None, **t_conds):
        """Predict the noise in x, or the velocity.

        x (B, 16, H, W); r (B,) noise level in [0, 1], float32; clip_text (B, 77, c_clip_text);
        clip_text_pooled (B, 1, c_clip_text_pooled); clip_img (B, N, c_clip_img), zeros for none;
        cnet: ControlNet residuals, item i (B, C, h, w) or None added before residual block i;
        t_conds: `sca` and `crp` (B,), 0 when absent. Returns (B, 16, H, W) in the weights' dtype.
        """
        conditioning = Conditioning(
            timesteps=self.embed_timesteps(r, t_conds),
            tokens=self.embed_tokens(clip_text, clip_text_pooled, clip_img),
            control=iter(cnet) if cnet is not None else None,
        )
        return self.predict(x, conditioning)

    def prepare(self, size, clip_text, clip_text_pooled, clip_img, cnet: Optional[list] = None, **t_conds) -> Prepared:
        tokens = self.embed_tokens(clip_text, clip_text_pooled, clip_img)
        return Prepared(self.keys_and_values(tokens), control=cnet, t_conds=t_conds)


def _as_tokens(embedding):
    return embedding.unsqueeze(1) if embedding.ndim == 2 else embedding


def _check_switches(switch_level, levels: int):
    switches = list(switch_level)
    if len(switches) != levels - 1:
        raise ValueError(f"switch_level needs one entry between each two levels, {levels - 1}, got {switches}.")
    return switches
