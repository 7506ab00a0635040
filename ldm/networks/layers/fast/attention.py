"""Attention without gradients on a CPU, whose scores stay in the processor's cache.

Paddle's own operation for CPUs with AVX-512, `self_dp_attention`, has tiles, the softmax within and all cores. It is what
Paddle puts in the place of a vision transformer's attention: as many queries as keys and values.
"""

import math

import paddle

from ldm.common.runtime import has_avx512
from ldm.networks.layers.fast.switch import eager_float32

IN_CACHE = 3 * 2**19  # scores (6 MB) that are worth computing at a time


def attention_in_parts(formula, queries, keys, values, dropout_rate=0.0, training=False):
    """`dot_product_attention`, a few heads at a time: three quarters of the time, and the scores' memory of those few.

    Not in a program, whose hundreds of parts take minutes to prepare.
    """
    batch, heads, length, width = queries.shape
    scores = length * keys.shape[2]  # of one head
    whole = batch * heads * scores <= IN_CACHE
    if whole or paddle.is_grad_enabled() or not eager_float32(queries, keys, values):
        return formula(queries, keys, values, dropout_rate, training)
    firsts = range(0, batch * heads, max(1, IN_CACHE // scores))
    flat = [part.reshape([batch * heads, *part.shape[2:]]) for part in (queries, keys, values)]
    parts = [[tensor[first : first + firsts.step] for tensor in flat] for first in firsts]
    mixed = paddle.concat([formula(*part, dropout_rate, training) for part in parts])
    return mixed.reshape([batch, heads, length, width])


def fused_attention(formula, projected, others, heads, dropout_rate=0.0, training=False):
    """`attention_over_all` by Paddle's operation: the others ask too, and their answers are cut off."""
    if (training and dropout_rate) or not serves(projected, others):
        return formula(projected, others, heads, dropout_rate, training)
    batch, length, columns = projected.shape
    no_queries = paddle.zeros([batch, others.shape[1], columns // 3])
    others = paddle.concat([no_queries, others], axis=2)
    return fused_self_attention(paddle.concat([projected, others], axis=1), heads)[:, :length]


def serves(*tensors) -> bool:
    """Whether Paddle's operation can be used: it has no gradient, and ends the process without AVX-512."""
    float32 = all(tensor.dtype == paddle.float32 for tensor in tensors)
    return has_avx512() and float32 and not (paddle.in_dynamic_mode() and paddle.is_grad_enabled())


def fused_self_attention(projected, heads: int):
    """Queries, keys and values side by side (B, S, 3C) -> (B, S, C)."""
    batch, length, columns = projected.shape
    width = columns // (3 * heads)
    apart, scale = projected.reshape([batch, length, 3, heads, width]), 1 / math.sqrt(width)
    if paddle.in_dynamic_mode():
        mixed = paddle._legacy_C_ops.self_dp_attention(apart, "alpha", scale, "head_number", heads)
    else:
        mixed = paddle._C_ops.self_dp_attention(apart, scale, heads)
    return mixed.reshape([batch, length, columns // 3])
