"""Scaled dot-product attention of several heads, the softmax in float32 (Attention Is All You Need, arXiv:1706.03762)."""

import math

import paddle
from paddle.nn import functional as F

from ldm.common.precision import float32_region
from ldm.networks.layers.activations import dropout
from ldm.networks.layers.fast import attention as fast
from ldm.networks.layers.fast.switch import faster


@faster(fast.attention_in_parts)
def dot_product_attention(queries, keys, values, dropout_rate=0.0, training=False):
    """Queries (..., L, d) over keys and values (..., S, d) -> (..., L, d). Dropout falls on the attention weights."""
    queries = queries * (1 / math.sqrt(queries.shape[-1]))
    scores = paddle.matmul(queries, keys, transpose_y=True)  # (..., L, S)
    with float32_region():
        weights = F.softmax(scores.astype("float32"), axis=-1).astype(values.dtype)
    return paddle.matmul(dropout(weights, dropout_rate, training), values)


@faster(fast.fused_attention)
def attention_over_all(projected, others, heads, dropout_rate=0.0, training=False):
    """Tokens over themselves and others -> (B, L, C).

    projected: the tokens' queries, keys and values side by side, (B, L, 3C); others: keys and values, (B, S, 2C).
    """
    queries, *own = split_heads(projected, 3, heads)
    pairs = zip(own, split_heads(others, 2, heads), strict=True)
    keys, values = (paddle.concat(pair, axis=2) for pair in pairs)  # (B, heads, L + S, C / heads)
    return join_heads(dot_product_attention(queries, keys, values, dropout_rate, training))


def split_heads(tokens, parts: int, heads: int):
    """(B, L, parts * C) -> (B, heads, L, C / heads) for each part."""
    batch, length, columns = tokens.shape
    apart = tokens.reshape([batch, length, parts, heads, columns // (parts * heads)])
    return apart.transpose([2, 0, 3, 1, 4]).unbind()


def join_heads(tokens):
    """(B, heads, L, C / heads) -> (B, L, C)."""
    batch, heads, length, width = tokens.shape
    return tokens.transpose([0, 2, 1, 3]).reshape([batch, length, heads * width])
