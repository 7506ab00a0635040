"""Linear maps and 1x1 convolutions on channels-last tensors, initialised as the release initialises them."""

from paddle import nn


def linear(c_in: int, c_out: int, init=None, bias: bool = True) -> nn.Linear:
    """`nn.Linear` (weight stored (in, out)) with Xavier-uniform weights and zero bias unless `init` says otherwise.

    A 1x1 convolution on a channels-last tensor is this same layer; its checkpoint weight (out, in, 1, 1)
    becomes (in, out) in conversion.
    """
    weight = init if init is not None else nn.initializer.XavierUniform()
    return nn.Linear(c_in, c_out, weight_attr=weight, bias_attr=nn.initializer.Constant(0.0) if bias else False)


def conv(c_in: int, c_out: int, kernel_size: int, cls=nn.Conv2D, bias: bool = True, **options):
    """A channels-first convolution (or its transpose, by `cls`) with the release's initialisation."""
    return cls(
        c_in,
        c_out,
        kernel_size,
        weight_attr=nn.initializer.XavierUniform(),
        bias_attr=nn.initializer.Constant(0.0) if bias else False,
        **options,
    )
