"""What the networks of a generation hold in memory while they are at work, counted tensor by tensor from their sizes.

For eager mode on a CPU without gradients; measured block by block, see `tests/generation/test_generation_memory.py`. All in bytes of
float32: in 16 bits it is less, how much was not measured.
"""

import math
from dataclasses import dataclass

from ldm.common.runtime import has_avx512
from ldm.generation.request import GenerationRequest
from ldm.networks.levels import Level, build_levels
from ldm.sizes import AUTOENCODER_FACTOR, decoder_grid, prior_grid

FLOAT32 = 4  # bytes
TOKENS = 77  # of a caption, at most
PART = 6 << 20  # bytes of attention scores, and half of those of Stage A's activations, that a CPU computes at a time
# What a block holds beside its input, in inputs: convolution, norm, three tensors four times as wide, where a skip comes
# in that as well (T: a product); copies of queries, keys and values
BLOCKS = {"C": 13, "F": 13, "T": 2}
SELF_ATTENTION, CROSS_ATTENTION = 14, 6
LEVEL_ARGUMENTS = ("c_hidden", "nhead", "blocks", "block_repeat", "level_config", "dropout", "self_attn")


@dataclass(frozen=True)
class Sizes:
    """What is asked for. images: how many are kept to the end, for a contact sheet; captions: of a run with low_memory,
    where all of them are encoded first."""

    height: int
    width: int
    batch: int = 1
    guided: tuple = (True, True)  # prior, decoder: guidance computes every image twice
    captions: int = 1
    images: int = 0

    @classmethod
    def of(cls, request: GenerationRequest, captions: int = 1, images: int = 0) -> "Sizes":
        guided = (request.cfg != 1, request.decoder_cfg != 1)
        sizes = cls(request.height, request.width, request.batch_size, guided, captions, images)
        for mode in request.modes:
            sizes = mode.sizes(sizes)
        return sizes


def prior_work(a: dict, sizes: Sizes, on_cpu: bool = True) -> int:
    """The most that a step of Stage C holds. a: its constructor arguments."""
    grid = prior_grid(sizes.height, sizes.width)
    halved = [2 if switch else 1 for switch in a["switch_level"]]
    tokens = TOKENS + 2 * a["c_clip_seq"]
    return _unet_work(a, sizes.batch * (1 + sizes.guided[0]), _grids(grid, halved), tokens, on_cpu, stems=1)


def decoder_work(a: dict, sizes: Sizes, on_cpu: bool = True) -> int:
    """The most that a step of Stage B holds, whose stem has the prior's latent laid over it."""
    grid = [side // a["patch_size"] for side in decoder_grid(sizes.height, sizes.width)]
    halved = [2] * (len(a["c_hidden"]) - 1)
    return _unet_work(a, sizes.batch * (1 + sizes.guided[1]), _grids(grid, halved), a["c_clip_seq"], on_cpu, stems=2)


def stage_a_work(a: dict, sizes: Sizes, on_cpu: bool = True) -> int:
    """The most that decoding holds: a block at the finest level, or the convolution that leads there."""
    grid = [AUTOENCODER_FACTOR * side for side in decoder_grid(sizes.height, sizes.width)]
    image, most = 3 * FLOAT32 * sizes.batch * math.prod(grid), 0
    for level in range(a["levels"]):
        channels = a["c_hidden"] // 2 ** (a["levels"] - 1 - level)
        x = FLOAT32 * sizes.batch * channels * math.prod(side // 2 ** (level + 1) for side in grid)
        hidden = 2 * min(4 * x, 2 * PART) if on_cpu else 8 * x
        most = max(most, x + max(4 * x, 3 * x + hidden), (2 + 4 / sizes.batch) * x if level < a["levels"] - 1 else 0)
    return int(most) + image


def unet_levels(a: dict) -> list[Level]:
    """The levels that constructor arguments of a UNet describe; ValueError as of building them."""
    return build_levels(*(a[name] for name in LEVEL_ARGUMENTS))


def _grids(grid, factors) -> list:
    """Rows and columns of each level, from the stem on."""
    grids = [tuple(grid)]
    for factor in factors:
        grids.append(tuple(max(1, side // factor) for side in grids[-1]))
    return grids


def _unet_work(a: dict, rows: int, grids: list, tokens: int, on_cpu: bool, stems: int) -> int:
    """The most at any block on the way down or up: its own, its level's input and skip, those of the levels above.

    rows: images, twice as many where they are guided; stems: tensors of the stem's size that stay all along.
    """
    levels = unet_levels(a)
    inputs = [FLOAT32 * rows * level.channels * math.prod(grid) for level, grid in zip(levels, grids)]
    most = 0
    for index, (level, grid, x) in enumerate(zip(levels, grids, inputs)):
        deepest = index == len(levels) - 1
        own = x * (2 if deepest else 3) + _block_work(level, x, rows, math.prod(grid), tokens, on_cpu)
        most = max(most, own + sum(inputs[:index]))
    known = sum(_keys_and_values(level, rows, tokens) for level in levels)
    latents = 10 * FLOAT32 * rows * a["c_in"] * math.prod(grids[0]) * a["patch_size"] ** 2
    return most + stems * inputs[0] + known + latents


def _block_work(level: Level, x: int, rows: int, pixels: int, tokens: int, on_cpu: bool) -> int:
    """The most that one of a level's blocks holds beside its input of x bytes."""
    costs = [BLOCKS[letter] * x for letter in level.layout if letter in BLOCKS]
    if "A" in level.layout:
        copies = 4 * FLOAT32 * level.channels**2  # of parts of the fused weights
        length = tokens + (pixels if level.self_attn else 0)
        scores = FLOAT32 * pixels * length  # of one head
        at_once = max(scores, min(PART, rows * level.heads * scores)) if on_cpu else rows * level.heads * scores
        fused = on_cpu and level.self_attn and has_avx512()
        costs.append(
            (SELF_ATTENTION if level.self_attn else CROSS_ATTENTION) * x + copies + (0 if fused else 2 * at_once)
        )
    return max(costs)


def _keys_and_values(level: Level, rows: int, tokens: int) -> int:
    """What the conditions give a level's attention blocks, once for all steps."""
    blocks = level.layout.count("A") * (level.down_units + level.up_units)
    return FLOAT32 * blocks * rows * tokens * 2 * level.channels
