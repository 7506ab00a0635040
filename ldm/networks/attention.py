"""Multi-head attention of image tokens over themselves and the conditioning tokens, weights fused as in the release."""

import paddle
from paddle import nn

from ldm.networks.layers.dot_product import attention_over_all, dot_product_attention, join_heads, split_heads
from ldm.networks.layers.linear import linear, linear_map


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

    def forward(self, query, key_value):
        query_weight, key_value_weight = self.in_proj_weight.split([self.channels, 2 * self.channels], axis=1)
        query_bias, key_value_bias = self.in_proj_bias.split([self.channels, 2 * self.channels])
        queries = self.projected(query, query_weight, query_bias, 0, self.channels)
        keys_and_values = self.projected(key_value, key_value_weight, key_value_bias, self.channels)
        return self.attend(queries, keys_and_values)

    def projected(self, tokens, weight, bias, first: int = 0, last=None):
        """tokens (B, L, C) by columns first:last of the fused projection, whose weight and bias are given."""
        projection = linear_map(tokens, weight, bias)
        if self.in_proj_update is None:
            return projection
        last = 3 * self.channels if last is None else last
        return projection + self.in_proj_update(tokens, first, last).astype(projection.dtype)

    def keys_and_values(self, tokens):
        """Tokens (B, S, C) -> their keys and values side by side, (B, S, 2C)."""
        first = self.channels
        return self.projected(tokens, self.in_proj_weight[:, first:], self.in_proj_bias[first:], first)

    def over_tokens(self, query, keys_and_values):
        """Query tokens (B, L, C) over others, of which keys and values (B, S, 2C) are known -> (B, L, C)."""
        last = self.channels
        queries = self.projected(query, self.in_proj_weight[:, :last], self.in_proj_bias[:last], 0, last)
        return self.attend(queries, keys_and_values)

    def over_all(self, query, keys_and_values):
        """Query tokens (B, L, C) over themselves and others, of which keys and values (B, S, 2C) are known -> (B, L, C)."""
        projected = self.projected(query, self.in_proj_weight, self.in_proj_bias)
        return self.out_proj(attention_over_all(projected, keys_and_values, self.heads, self.dropout, self.training))

    def attend(self, queries, keys_and_values):
        """Queries (B, L, C) over keys and values side by side (B, S, 2C) -> (B, L, C)."""
        apart = *split_heads(queries, 1, self.heads), *split_heads(keys_and_values, 2, self.heads)
        return self.out_proj(join_heads(dot_product_attention(*apart, self.dropout, self.training)))


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
        attend = self.attn.over_all if self_attn else self.attn.over_tokens
        return attend(pixels, keys_and_values).reshape([batch, height, width, channels])
