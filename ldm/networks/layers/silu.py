"""SiLU, x * sigmoid(x), with a gradient for every input."""

from paddle import nn

# Paddle's name for the same function. The gradient of `nn.Silu` is NaN below -88, where exp(-x) overflows (3.3.1).
SiLU = nn.Swish
