"""Float16 simulated in float32, on any device: would a network overflow, and in which layer first (a diagnostic tool).

    with simulate_float16(network) as report:
        network(**inputs)
    print(report.first_overflow, report.largest)

Mixed precision gives no such name: a latent turns NaN and every pixel black. The weights stay what they are and an
operation inside a layer (attention scores, norms) runs in float32; what passes from layer to layer is rounded.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import Optional

import paddle
from paddle import nn

LARGEST_FLOAT16 = 65504.0


@dataclass
class Float16Report:
    """What the forward passes so far would have met in float16; layers are named as in the state dict."""

    first_overflow: Optional[str] = None  # the first layer whose output was not finite
    largest: tuple = ("", 0.0)  # layer and size of the largest finite output: its distance to 65504 is the headroom


@contextmanager
def simulate_float16(network: nn.Layer):
    """Inside, the output of every layer of `network` is rounded to float16; yields the `Float16Report`."""
    report = Float16Report()
    hooks = [
        layer.register_forward_post_hook(_rounding_hook(name or type(network).__name__, report))
        for name, layer in network.named_sublayers(include_self=True)
    ]
    try:
        yield report
    finally:
        for hook in hooks:
            hook.remove()


def _rounding_hook(name: str, report: Float16Report):
    def hook(layer, inputs, output):
        if isinstance(output, (tuple, list)):
            return type(output)(_rounded(item, name, report) for item in output)
        return _rounded(output, name, report)

    return hook


def _rounded(tensor, name: str, report: Float16Report):
    if not isinstance(tensor, paddle.Tensor) or not tensor.is_floating_point():
        return tensor
    rounded = tensor.astype("float16").astype(tensor.dtype)
    largest = float(rounded.detach().abs().max())
    if not largest <= LARGEST_FLOAT16:  # infinite or NaN
        report.first_overflow = report.first_overflow or name
    elif largest > report.largest[1]:
        report.largest = (name, largest)
    return rounded
