"""Attention by Paddle's own operation for CPUs with AVX-512: tiles that stay in the cache, the softmax within, all cores.

It is what Paddle puts in the place of a vision transformer's attention, so its tokens attend over themselves: queries,
keys and values are of one length. It has no gradient.
"""

import math

import paddle

from ldm.common.runtime import has_avx512
from ldm.networks.layers.broadcast import float32_on_cpu


def fused_attention_serves(*tensors) -> bool:
    """Whether these are tensors of a traced program for CPUs, or of eager mode on one without gradients, in float32."""
    if not has_avx512() or not float32_on_cpu(*tensors):  # without AVX-512 the operation ends the process
        return False
    return not (paddle.in_dynamic_mode() and paddle.is_grad_enabled())


def fused_self_attention(projected, heads: int):
    """Queries, keys and values side by side (B, S, 3C) -> (B, S, C), before the output's linear map."""
    batch, length, columns = projected.shape
    width = columns // (3 * heads)
    apart, scale = projected.reshape([batch, length, 3, heads, width]), 1 / math.sqrt(width)
    if paddle.in_dynamic_mode():
        mixed = paddle._legacy_C_ops.self_dp_attention(apart, "alpha", scale, "head_number", heads)
    else:
        mixed = paddle._C_ops.self_dp_attention(apart, scale, heads)
    return mixed.reshape([batch, length, columns // 3])
