"""Paddle's fused attention beside the plain one, and when it is used."""

import paddle
import pytest
from helpers import distance

from ldm.common.runtime import has_avx512
from ldm.networks.attention import Attention2D
from ldm.networks.layers.dot_product import dot_product_attention
from ldm.networks.layers.fast import attention as fast
from ldm.networks.layers.fast.attention import fused_self_attention, serves

NEEDS_AVX512 = pytest.mark.skipif(not has_avx512(), reason="this processor has no AVX-512")


def projected(batch: int, length: int, heads: int, width: int, scale: float = 1.0):
    paddle.seed(0)
    return paddle.randn([batch, length, 3 * heads * width]) * scale


def plain(tokens, heads: int):
    batch, length, columns = tokens.shape
    apart = tokens.reshape([batch, length, 3, heads, -1]).transpose([2, 0, 3, 1, 4]).unbind()
    return dot_product_attention(*apart).transpose([0, 2, 1, 3]).reshape([batch, length, columns // 3])


@NEEDS_AVX512
@paddle.no_grad()
@pytest.mark.parametrize("batch, length", [(1, 1), (1, 3), (2, 17), (3, 511), (1, 513), (2, 1100)])
@pytest.mark.parametrize("heads, width", [(1, 64), (3, 32), (2, 10)])
def test_fused_is_plain(batch, length, heads, width):
    tokens = projected(batch, length, heads, width)
    assert distance(fused_self_attention(tokens, heads), plain(tokens, heads)) < 2e-6


@NEEDS_AVX512
@paddle.no_grad()
@pytest.mark.parametrize("scale", [1e-3, 10.0, 100.0])  # the last: one weight is 1, the scores are some ten thousands
def test_fused_is_plain_for_small_and_large_scores(scale):
    tokens = projected(2, 600, 2, 16, scale)
    assert distance(fused_self_attention(tokens, 2), plain(tokens, 2)) < 1e-5


def attend(block, x, tokens, self_attn):
    return block.prepared(x, block.attn.keys_and_values(tokens), self_attn)


@paddle.no_grad()
@pytest.mark.parametrize("self_attn", [True, False])
def test_prepared_is_the_whole(monkeypatch, self_attn):
    block, x, tokens = Attention2D(24, 3), paddle.randn([2, 4, 5, 24]), paddle.randn([2, 7, 24])
    calls = []
    monkeypatch.setattr(fast, "fused_self_attention", lambda *given: calls.append(1) or fused_self_attention(*given))
    whole = block(x, tokens, self_attn)
    assert distance(attend(block, x, tokens, self_attn), whole) < 1e-6
    assert len(calls) == (self_attn and has_avx512())  # without its own pixels queries and keys are not of one length
    monkeypatch.setattr(fast, "has_avx512", lambda: False)
    assert distance(attend(block, x, tokens, self_attn), whole) < 1e-6
    assert len(calls) == (self_attn and has_avx512())


def test_not_where_gradients_or_dropout_are_wanted():
    tokens = projected(1, 4, 1, 8)
    assert not serves(tokens)  # a gradient may be asked for
    with paddle.no_grad():
        assert serves(tokens) == has_avx512()
        assert not serves(tokens.astype("float64"))
        block, x, others = Attention2D(8, 1, dropout=0.5), paddle.randn([1, 4, 4, 8]), paddle.randn([1, 3, 8])
        kept = attend(block.eval(), x, others, True)
        assert distance(attend(block.train(), x, others, True), kept) > 0.05
