"""Attention in parts is attention as a whole."""

import paddle
import pytest
from helpers import distance
from paddle.nn import functional as F

from ldm.networks.layers import dot_product
from ldm.networks.layers.activations import dropout
from ldm.networks.layers.dot_product import dot_product_attention
from ldm.networks.layers.fast import attention as fast


def tensors():
    """Queries, keys and values of 2 x 3 heads, 10 pixels and 14 tokens."""
    paddle.seed(0)
    return [paddle.randn([2, 3, length, 8]) for length in (10, 14, 14)]


def formula(q, k, v):
    return paddle.matmul(F.softmax(paddle.matmul(q, k, transpose_y=True) / 8**0.5, axis=-1), v)


@paddle.no_grad()
@pytest.mark.parametrize("in_cache, parts", [(1, 6), (140, 6), (4 * 140, 2), (5 * 140, 2), (6 * 140, 1)])
def test_parts_are_the_whole(monkeypatch, in_cache, parts):
    monkeypatch.setattr(fast, "IN_CACHE", in_cache)
    calls = []
    monkeypatch.setattr(dot_product, "dropout", lambda *given: calls.append(1) or dropout(*given))
    assert distance(dot_product_attention(*tensors()), formula(*tensors())) < 1e-6
    assert len(calls) == parts


def test_gradients_are_the_formulas(monkeypatch):
    monkeypatch.setattr(fast, "IN_CACHE", 1)
    gradients = []
    for attention in (dot_product_attention, formula):
        given = tensors()
        for tensor in given:
            tensor.stop_gradient = False
        attention(*given).square().sum().backward()
        gradients.append([tensor.grad for tensor in given])
    for ours, theirs in zip(*gradients, strict=True):
        assert distance(ours, theirs) < 1e-6


def test_dropout_falls_on_the_weights_in_training_alone():
    q, k, v = tensors()
    whole = dot_product_attention(q, k, v)
    assert distance(dot_product_attention(q, k, v, 0.5, training=False), whole) == 0
    paddle.seed(3)
    dropped = dot_product_attention(q, k, v, 0.5, training=True)
    paddle.seed(3)
    weights = F.dropout(F.softmax(paddle.matmul(q * 8**-0.5, k, transpose_y=True), axis=-1), 0.5)
    assert distance(dropped, paddle.matmul(weights, v)) < 1e-6 and distance(dropped, whole) > 0.1
