"""The UNet shared by prior and decoder: levels built once, walked down and up, control residuals added on the way."""

import math
from dataclasses import dataclass, field
from typing import Optional

import paddle
from paddle import nn
from paddle.distributed.fleet.utils import recompute

from ldm.networks.blocks import AttnBlock, Conditioning, FeedForwardBlock, ResBlock, TimestepBlock
from ldm.networks.layers.linear import linear
from ldm.networks.layers.norms import LayerNorm2D
from ldm.networks.layers.resample import PixelShuffle, PixelUnshuffle, resize_channels_last
from ldm.networks.levels import Level
from ldm.networks.timestep import timestep_embedding

PREDICTION_TYPES = ("epsilon", "v_prediction")  # the noise or the velocity, see ldm.diffusion.prediction


@dataclass(frozen=True)
class Prepared:
    """What a UNet makes of its conditions, once for all steps of a generation: see `CascadeUNet.prepare`."""

    keys_and_values: list  # (B, S, 2C) per attention block, in the order of `attention_blocks`
    stem: Optional[paddle.Tensor] = None  # (B, h, w, C) what is laid over the embedded latent, if anything
    control: Optional[list] = None  # ControlNet residuals
    t_conds: dict = field(default_factory=dict)  # name -> (B,) or None


class CascadeUNet(nn.Layer):
    """Stem, levels down, levels up, head. Tensors are channels last between stem and head.

    A subclass says how neighbouring levels are joined (`make_downscaler`, `make_upscaler`) and adds its
    conditioning. Built inside `paddle.LazyGuard()` no weight is allocated or initialised until it is loaded.
    """

    enable_recompute = False  # training: keep only every block's input, compute the rest again in the backward pass

    def __init__(
        self, levels: list[Level], c_in, c_out, c_r, patch_size, c_cond, kernel_size, t_conds, prediction_type
    ):
        super().__init__()
        self._check(c_r, patch_size, kernel_size, t_conds, prediction_type)
        self.prediction_type = prediction_type
        self.levels, self.c_r, self.t_conds, self.patch_size = levels, c_r, tuple(t_conds), patch_size
        self.c_in = c_in

        def make_unit(level: Level, c_skip: int):
            """The blocks of one unit of `level`, in the order of its layout."""
            makers = {
                "C": lambda skip: ResBlock(level.channels, skip, kernel_size, level.dropout, residual_scale),
                "F": lambda skip: FeedForwardBlock(level.channels, level.dropout, residual_scale),
                "T": lambda skip: TimestepBlock(level.channels, c_r, self.t_conds),
                "A": lambda skip: AttnBlock(level.channels, c_cond, level.heads, level.self_attn, level.dropout),
            }
            return [makers[letter](c_skip if i == 0 else 0) for i, letter in enumerate(level.layout)]

        def make_level(level: Level, units: int, c_skip: int = 0):
            return nn.LayerList([b for u in range(units) for b in make_unit(level, c_skip if u == 0 else 0)])

        def make_run_mappers(level: Level, runs: int):
            return nn.LayerList([linear(level.channels, level.channels) for _ in range(runs - 1)])

        # Stem
        width = levels[0].channels
        residual_scale = math.sqrt(1 / sum(level.down_units for level in levels))
        stem_init = nn.initializer.XavierUniform(gain=0.02)
        self.embedding = nn.Sequential(
            PixelUnshuffle(patch_size), linear(c_in * patch_size**2, width, stem_init), LayerNorm2D(width)
        )

        # Way down, shallowest level first
        self.down_blocks = nn.LayerList([make_level(level, level.down_units) for level in levels])
        self.down_downscalers = nn.LayerList(
            [nn.Identity()] + [self.make_downscaler(i - 1, levels[i - 1], levels[i]) for i in range(1, len(levels))]
        )
        self.down_repeat_mappers = nn.LayerList([make_run_mappers(level, level.down_runs) for level in levels])

        # Way up, deepest level first; every level but the deepest takes in a skip
        upwards = list(enumerate(levels))[::-1]
        deepest = len(levels) - 1
        self.up_blocks = nn.LayerList(
            [make_level(level, level.up_units, level.channels if i < deepest else 0) for i, level in upwards]
        )
        self.up_upscalers = nn.LayerList(
            [self.make_upscaler(i - 1, level, levels[i - 1]) for i, level in upwards[:-1]] + [nn.Identity()]
        )
        self.up_repeat_mappers = nn.LayerList([make_run_mappers(level, level.up_runs) for _, level in upwards])

        # Head, zero at the start of training
        self.clf = nn.Sequential(
            LayerNorm2D(width),
            linear(width, c_out * patch_size**2, nn.initializer.Constant(0.0)),
            PixelShuffle(patch_size),
        )

    @staticmethod
    def _check(c_r, patch_size, kernel_size, t_conds, prediction_type):
        if c_r < 4:
            raise ValueError(f"c_r must be at least 4 (two frequencies), got {c_r}.")
        if patch_size < 1:
            raise ValueError(f"patch_size must be at least 1, got {patch_size}.")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that a residual keeps its size, got {kernel_size}.")
        if len(set(t_conds)) != len(t_conds):
            raise ValueError(f"t_conds names a condition twice: {list(t_conds)}.")
        if prediction_type not in PREDICTION_TYPES:
            raise ValueError(f"prediction_type {prediction_type!r} is unknown: one of {', '.join(PREDICTION_TYPES)}.")

    def make_downscaler(self, gap: int, upper: Level, lower: Level) -> nn.Layer:
        """Layer from `upper` to the next deeper level `lower`; `gap` counts the joints from the top."""
        raise NotImplementedError

    def make_upscaler(self, gap: int, lower: Level, upper: Level) -> nn.Layer:
        """Layer from `lower` back to `upper`."""
        raise NotImplementedError

    @property
    def dtype(self):
        """Dtype the weights are stored in; inputs are cast to it."""
        return self.clf[1].weight.dtype

    def embed_timesteps(self, r, extra: dict) -> list:
        """r (B,) and the conditions of `t_conds` found in `extra` (missing or None ones are 0) -> (B, c_r) each."""
        unknown = sorted(set(extra) - set(self.t_conds))
        if unknown:
            raise ValueError(f"Unknown conditions {unknown}: this network was built with t_conds {list(self.t_conds)}.")
        values = [r] + [extra.get(name) for name in self.t_conds]
        return [timestep_embedding(value if value is not None else r * 0, self.c_r) for value in values]

    # One look at the conditions, many steps ---------------------------------------------------------------------

    def prepare(self, size, **conditions) -> Prepared:
        """Everything that follows from the conditions that `forward` takes, for latents of `size` = (H, W)."""
        raise NotImplementedError

    def attention_blocks(self) -> list[AttnBlock]:
        """Every attention block, in the order of the checkpoint's keys."""
        return [block for block in self.sublayers() if isinstance(block, AttnBlock)]

    def keys_and_values(self, tokens) -> list:
        """Conditioning tokens (B, S, c_cond) -> what each attention block makes of them."""
        return [block.keys_and_values(tokens) for block in self.attention_blocks()]

    @paddle.jit.not_to_static  # nothing in here depends on values: it can be traced as it is, its source left alone
    def step(self, x, r, prepared: Prepared):
        """`forward` on conditions that are prepared: x (B, C, H, W) and r (B,) -> (B, C, H, W)."""
        conditioning = Conditioning(
            timesteps=self.embed_timesteps(r, prepared.t_conds),
            tokens=None,
            control=iter(prepared.control) if prepared.control is not None else None,
            keys_and_values=dict(zip(self.attention_blocks(), prepared.keys_and_values)),
        )
        return self.predict(x, conditioning, prepared.stem)

    def bound(self, size, **conditions):
        """A function (x, r) -> `forward(x, r, **conditions)` that looks at the conditions once, for `size` = (H, W).

        For generation: without gradients, and the weights must stay what they are as long as it is used.
        """
        with paddle.no_grad():
            prepared = self.prepare(size, **conditions)
        return lambda x, r: self.step(x, r, prepared)

    # The way through --------------------------------------------------------------------------------------------

    def predict(self, x, conditioning: Conditioning, stem=None):
        """Embed x (B, C, H, W), lay `stem` (B, h, w, C') over it, walk the levels, predict (B, C, H, W)."""
        x = self.embedding(x.astype(self.dtype))
        x = self.walk(x if stem is None else x + stem, conditioning)
        return self.clf(x)

    def walk(self, x, conditioning: Conditioning):
        """Levels down and up: x (B, H, W, C) -> the same shape."""
        skips = []
        for level in zip(self.down_blocks, self.down_downscalers, self.down_repeat_mappers):
            blocks, downscaler, run_mappers = level
            x = self.run_level(downscaler(x), blocks, run_mappers, conditioning)
            skips.append(x)

        x = skips.pop()  # the deepest level has no skip: its own output is where the way up starts
        for level in zip(self.up_blocks, self.up_upscalers, self.up_repeat_mappers):
            blocks, upscaler, run_mappers = level
            is_deepest = blocks is self.up_blocks[0]
            x = self.run_level(x, blocks, run_mappers, conditioning, None if is_deepest else skips.pop())
            x = upscaler(x)
        return x

    def run_level(self, x, blocks, run_mappers, conditioning: Conditioning, skip=None):
        """One level: all its blocks, as often as it has runs, the skip entering at the first block of every run."""
        for run in range(len(run_mappers) + 1):
            for index, block in enumerate(blocks):
                takes_skip = skip is not None and index == 0 and isinstance(block, ResBlock)
                if takes_skip:
                    x = resize_channels_last(x, skip.shape[1:3])
                if block.takes_control:
                    x = conditioning.add_control(x)
                arguments = (x, conditioning, skip) if takes_skip else (x, conditioning)
                x = self.run_block(block, *arguments)
            if run < len(run_mappers):
                x = run_mappers[run](x)
        return x

    def run_block(self, block, *arguments):
        """block(*arguments), its activations freed until the backward pass where `enable_recompute` asks for it."""
        if self.enable_recompute and self.training and paddle.is_grad_enabled():
            return recompute(block, *arguments, use_reentrant=False)
        return block(*arguments)
