"""Convolutions on channels-last tensors are Paddle's own, forward and backward."""

import paddle
import pytest
from helpers import distance
from paddle import nn

from ldm.networks.layers.convolution import Conv2D, Conv2DTranspose, DepthwiseConv2D

LAYERS = {
    "stride": (Conv2D, nn.Conv2D, (6, 4, 2), dict(stride=2)),
    "padding and groups": (Conv2D, nn.Conv2D, (6, 6, 3), dict(padding=1, groups=3)),
    "without bias": (Conv2D, nn.Conv2D, (6, 4, 3), dict(bias_attr=False)),
    "depthwise": (DepthwiseConv2D, nn.Conv2D, (6, 6, 3), dict(padding=1, groups=6)),
    "transpose": (Conv2DTranspose, nn.Conv2DTranspose, (6, 4, 4), dict(stride=2, padding=1, output_padding=1)),
}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("ours, theirs, arguments, options", LAYERS.values(), ids=LAYERS)
def test_as_paddles(monkeypatch, ours, theirs, arguments, options, large):
    if large:
        monkeypatch.setattr("ldm.networks.layers.fast.convolution.LARGEST", 0)
    paddle.seed(1)
    last, first = ours(*arguments, **options), theirs(*arguments, **options)
    first.set_state_dict(last.state_dict())
    if last.bias is not None:
        for layer in (last, first):
            layer.bias.set_value(paddle.arange(1.0, len(layer.bias) + 1))
    images = [paddle.randn([2, 7, 9, 6])]
    images.append(images[0].clone())
    for x in images:
        x.stop_gradient = False
    outputs = last(images[0]), first(images[1].transpose([0, 3, 1, 2])).transpose([0, 2, 3, 1])
    assert distance(*outputs) < 1e-6
    with paddle.no_grad():
        assert distance(last(images[0]), outputs[1]) < 1e-6
    for output in outputs:
        (output**3).sum().backward()
    assert distance(images[0].grad, images[1].grad) < 1e-5
    for mine, other in zip(last.parameters(), first.parameters(), strict=True):
        assert distance(mine.grad, other.grad) < 1e-5
