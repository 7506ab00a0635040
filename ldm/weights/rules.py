"""Key rules, one list per network: how a release's tensor becomes ours. The way back is computed from the same lists.

Keys keep the release's names, so a rule mostly says how the tensor is laid out. Paddle stores a Linear as (in, out),
PyTorch as (out, in); our 1x1 convolutions on channels-last tensors are Linears too; BatchNorm's statistics are renamed.
The first rule whose pattern matches the whole key wins; a key that no rule matches is not part of the network.
"""

import re
from dataclasses import dataclass
from enum import Enum

import numpy as np


class Layout(Enum):
    """How a tensor is stored in the release and in Paddle; every value can be undone."""

    SAME = "same"
    LINEAR = "linear"  # (out, in) <-> (in, out)
    CONV1X1 = "conv1x1"  # (out, in, 1, 1) <-> (in, out)
    DROPPED = "dropped"  # only in the release: an int64 zero, restored as such

    def to_paddle(self, tensor):
        """A release's tensor, numpy or Paddle -> ours."""
        if self is Layout.CONV1X1:
            tensor = tensor.reshape(tuple(tensor.shape[:2]))
        return _transposed(tensor) if self in (Layout.LINEAR, Layout.CONV1X1) else tensor

    def released_view(self, array):
        """Our numpy array as the release sees it, in the same memory."""
        if self in (Layout.LINEAR, Layout.CONV1X1):
            array = array.T
        return array[..., None, None] if self is Layout.CONV1X1 else array

    def to_release(self, tensor):
        """Ours -> the release's tensor."""
        if self in (Layout.LINEAR, Layout.CONV1X1):
            tensor = _transposed(tensor)
        return tensor.reshape((*tensor.shape, 1, 1)) if self is Layout.CONV1X1 else tensor

    def shape_to_release(self, shape) -> tuple:
        """The same on a shape alone."""
        shape = tuple(shape)
        if self is Layout.LINEAR:
            return shape[::-1]
        return (*shape[::-1], 1, 1) if self is Layout.CONV1X1 else shape


def _transposed(tensor):
    if isinstance(tensor, np.ndarray):
        return np.ascontiguousarray(tensor.T)
    if tensor.element_size() == 2 and tensor.place.is_cpu_place():
        return tensor.astype("float32").t().astype(tensor.dtype)  # exact, and half the time of Paddle's own way
    return tensor.t()


@dataclass(frozen=True)
class Rule:
    """Keys matching `pattern` are stored as `layout`; `rename` = (release's last part, ours) where they differ."""

    pattern: str
    layout: Layout = Layout.SAME
    rename: tuple = ("", "")

    def matches(self, key: str) -> bool:
        return re.fullmatch(self.pattern, key) is not None

    def to_paddle_key(self, key: str) -> str:
        return key.removesuffix(self.rename[0]) + self.rename[1]

    def to_release_key(self, key: str) -> str:
        return key.removesuffix(self.rename[1]) + self.rename[0]


BATCH_NORM = (
    Rule(r".+\.running_mean", rename=("running_mean", "_mean")),
    Rule(r".+\.running_var", rename=("running_var", "_variance")),
    Rule(r".+\.num_batches_tracked", Layout.DROPPED),
)
BLOCKS = (
    Rule(r"(down|up)_blocks\.\d+\.\d+\.depthwise\.(weight|bias)"),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.channelwise\.[04]\.weight", Layout.LINEAR),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.channelwise\.([04]\.bias|2\.(gamma|beta))"),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.mapper(_\w+)?\.weight", Layout.LINEAR),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.mapper(_\w+)?\.bias"),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.(kv_mapper\.1|attention\.attn\.out_proj)\.weight", Layout.LINEAR),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.(kv_mapper\.1|attention\.attn\.out_proj)\.bias"),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.attention\.attn\.in_proj_weight", Layout.LINEAR),
    Rule(r"(down|up)_blocks\.\d+\.\d+\.attention\.attn\.in_proj_bias"),
    Rule(r"(down|up)_repeat_mappers\.\d+\.\d+\.weight", Layout.CONV1X1),
    Rule(r"(down|up)_repeat_mappers\.\d+\.\d+\.bias"),
    Rule(r"(embedding|clf)\.1\.weight", Layout.CONV1X1),
    Rule(r"(embedding|clf)\.1\.bias"),
)
STAGE_C = BLOCKS + (
    Rule(r"clip_(txt|txt_pooled|img)_mapper\.weight", Layout.LINEAR),
    Rule(r"clip_(txt|txt_pooled|img)_mapper\.bias"),
    Rule(r"(down_downscalers|up_upscalers)\.\d+\.1\.blocks\.[01]\.weight", Layout.CONV1X1),
    Rule(r"(down_downscalers|up_upscalers)\.\d+\.1\.blocks\.[01]\.bias"),
)
STAGE_B = BLOCKS + (
    Rule(r"clip_mapper\.weight", Layout.LINEAR),
    Rule(r"clip_mapper\.bias"),
    Rule(r"(effnet|pixels)_mapper\.[02]\.weight", Layout.CONV1X1),
    Rule(r"(effnet|pixels)_mapper\.[02]\.bias"),
    Rule(r"(down_downscalers|up_upscalers)\.\d+\.1\.(weight|bias)"),
)
STAGE_A = BATCH_NORM + (
    Rule(r"(down|up)_blocks\.\d+\.channelwise\.[02]\.weight", Layout.LINEAR),
    Rule(r"(down|up)_blocks\.\d+\.(channelwise\.[02]\.bias|depthwise\.1\.(weight|bias)|gammas)"),
    Rule(r"(down|up)_blocks\.\d+(\.[01])?\.(weight|bias)"),
    Rule(r"(in_block\.1|out_block\.0)\.(weight|bias)"),
    Rule(r"vquantizer\.codebook\.weight"),
)
PREVIEWER = BATCH_NORM + (Rule(r"blocks\.\d+\.(weight|bias)"),)
EFFICIENTNET = BATCH_NORM + (Rule(r"(backbone|mapper)\..+\.(weight|bias)"), Rule(r"mapper\.0\.weight"))

RULES = {
    "stage_c": STAGE_C,
    "stage_b": STAGE_B,
    "stage_a": STAGE_A,
    "previewer": PREVIEWER,
    "effnet": EFFICIENTNET,
}


def find_rule(rules, key: str):
    """The first rule for a release's `key`, or None."""
    return next((rule for rule in rules if rule.matches(key)), None)
