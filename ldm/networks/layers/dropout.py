"""Dropout that costs nothing where nothing is dropped."""

from paddle import nn
from paddle.nn import functional as F


def dropout(x, p: float, training: bool):
    """`F.dropout`, or x itself where nothing is dropped: Paddle copies it there."""
    return F.dropout(x, p, training=True) if training and p > 0 else x


class Dropout(nn.Dropout):
    """`nn.Dropout`, computed by `dropout`."""

    def forward(self, x):
        return dropout(x, self.p, self.training)
