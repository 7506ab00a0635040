"""Scaled dot-product attention, the softmax in float32 (Attention Is All You Need, arXiv:1706.03762)."""

import math

import paddle
from paddle.nn import functional as F

from ldm.common.precision import float32_region
from ldm.networks.layers.broadcast import eager_on_cpu
from ldm.networks.layers.dropout import dropout

IN_CACHE = 3 * 2**19  # scores (6 MB) that are worth computing at a time on a CPU


def dot_product_attention(queries, keys, values, dropout_rate: float = 0.0, training: bool = False):
    """Queries (B, heads, L, d) over keys and values (B, heads, S, d) -> (B, heads, L, d).

    Dropout falls on the attention weights. Without gradients on a CPU a few heads are computed at a time, so that their
    scores (L, S) stay in the processor's cache: three quarters of the time, and the memory of those few.
    """
    batch, heads, length, width = queries.shape
    queries = queries * (1 / math.sqrt(width))
    scores = length * keys.shape[2]  # of one head
    if batch * heads * scores <= IN_CACHE or not _in_parts(queries, keys, values):
        return _attend(queries, keys, values, dropout_rate, training)
    firsts = range(0, batch * heads, max(1, IN_CACHE // scores))
    flat = [part.reshape([batch * heads, *part.shape[2:]]) for part in (queries, keys, values)]
    parts = [[tensor[first : first + firsts.step] for tensor in flat] for first in firsts]
    mixed = paddle.concat([_attend(*part, dropout_rate, training) for part in parts])
    return mixed.reshape([batch, heads, length, width])


def _in_parts(*tensors) -> bool:
    """Whether these are better computed in parts. Not in a traced program: its hundreds of parts take minutes to prepare."""
    return not paddle.is_grad_enabled() and eager_on_cpu(*tensors)


def _attend(queries, keys, values, dropout_rate, training):
    """Queries (..., L, d), scaled, over keys and values (..., S, d) -> (..., L, d)."""
    scores = paddle.matmul(queries, keys, transpose_y=True)
    with float32_region():
        weights = F.softmax(scores.astype("float32"), axis=-1).astype(values.dtype)  # (..., L, S)
    return paddle.matmul(dropout(weights, dropout_rate, training), values)
