"""Multi-head attention of image tokens over themselves and the conditioning tokens, weights fused as in the release."""

import math

import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm.networks.linear import linear, linear_map
from ldm.precision import float32_region


class MultiHeadAttention(nn.Layer):
    """Query tokens (B, L, C) attend over key/value tokens (B, S, C); names follow `torch.nn.MultiheadAttention`.

    `in_proj_weight` (C, 3C) holds query, key and value maps side by side.
    Dropout falls on the attention *weights*, the softmax runs in float32.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.in_proj_weight = self.create_parameter(
            [channels, 3 * channels], default_initializer=nn.initializer.XavierUniform()
        )
        self.in_proj_bias = self.create_parameter(
            [3 * channels], default_initializer=nn.initializer.Constant(0.0), is_bias=True
        )
        self.out_proj = linear(channels, channels)
        self.in_proj_update = None  # (tokens, first and last column) -> what a LoRA adds to these of the projection

    def split_heads(self, tokens):
        """(B, L, C) -> (B, heads, L, C / heads)."""
        batch, length, _ = tokens.shape
        return tokens.reshape([batch, length, self.heads, -1]).transpose([0, 2, 1, 3])

    def forward(self, query, key_value):
        query_weight, key_value_weight = self.in_proj_weight.split([self.channels, 2 * self.channels], axis=1)
        query_bias, key_value_bias = self.in_proj_bias.split([self.channels, 2 * self.channels])
        q = self.projected(query, query_weight, query_bias, 0, self.channels)
        return self.attend(q, self.projected(key_value, key_value_weight, key_value_bias, self.channels))

    def projected(self, tokens, weight, bias, first: int = 0, last=None):
        """tokens (B, L, C) by columns first:last of the fused projection, whose weight and bias are given."""
        projection = linear_map(tokens, weight, bias)
        if self.in_proj_update is None:
            return projection
        last = 3 * self.channels if last is None else last
        return projection + self.in_proj_update(tokens, first, last).astype(projection.dtype)

    def keys_and_values(self, tokens):
        """Tokens (B, S, C) -> what `attend` takes of them, (B, S, 2C)."""
        first = self.channels
        return self.projected(tokens, self.in_proj_weight[:, first:], self.in_proj_bias[first:], first)

    def queries(self, tokens):
        """Tokens (B, L, C) -> (B, L, C)."""
        last = self.channels
        return self.projected(tokens, self.in_proj_weight[:, :last], self.in_proj_bias[:last], 0, last)

    def all_three(self, tokens):
        """Tokens (B, L, C) -> queries (B, L, C) and keys and values (B, L, 2C), by one product."""
        fused = self.projected(tokens, self.in_proj_weight, self.in_proj_bias)
        return fused.split([self.channels, 2 * self.channels], axis=-1)

    def attend(self, queries, keys_and_values):
        """Queries (B, L, C) over keys and values (B, S, 2C) -> (B, L, C)."""
        batch, length, channels = queries.shape
        keys, values = keys_and_values.chunk(2, axis=-1)
        q, k, v = (self.split_heads(part) for part in (queries, keys, values))  # (B, heads, L or S, d)

        # Attend
        scores = paddle.matmul(q * (1 / math.sqrt(channels // self.heads)), k, transpose_y=True)
        with float32_region():
            weights = F.softmax(scores.astype("float32"), axis=-1).astype(v.dtype)  # (B, heads, L, S)
        weights = F.dropout(weights, self.dropout, training=self.training)
        mixed = paddle.matmul(weights, v)

        # Join heads
        return self.out_proj(mixed.transpose([0, 2, 1, 3]).reshape([batch, length, channels]))


class Attention2D(nn.Layer):
    """Attention for an image (B, H, W, C) over `tokens` (B, S, C) and, with `self_attn`, over its own pixels."""

    def __init__(self, channels: int, heads: int, dropout: float = 0.0):
        super().__init__()
        self.attn = MultiHeadAttention(channels, heads, dropout)

    def forward(self, x, tokens, self_attn: bool):
        batch, height, width, channels = x.shape
        query = x.reshape([batch, height * width, channels])
        key_value = paddle.concat([query, tokens.astype(query.dtype)], axis=1) if self_attn else tokens
        return self.attn(query, key_value).reshape([batch, height, width, channels])

    def prepared(self, x, keys_and_values, self_attn: bool):
        """The same where the tokens' keys and values (B, S, 2C) are known already."""
        batch, height, width, channels = x.shape
        pixels = x.reshape([batch, height * width, channels])
        if self_attn:
            queries, own = self.attn.all_three(pixels)
            keys_and_values = paddle.concat([own, keys_and_values], axis=1)
        else:
            queries = self.attn.queries(pixels)
        return self.attn.attend(queries, keys_and_values).reshape([batch, height, width, channels])
