"""ControlNet residuals: item i goes before residual block i, counted down and then up, once per run of a level."""

import numpy as np
import paddle
import pytest
from tiny_networks import inputs_c, stage_c

from ldm.networks.blocks import Conditioning, ResBlock


def visits(network, control=None):
    """Names of the residual blocks in the order of a forward pass, each with the largest change of its input."""
    names = {id(block): name for name, block in network.named_sublayers() if isinstance(block, ResBlock)}
    seen = []
    hooks = [
        block.register_forward_pre_hook(lambda block, inputs: seen.append((names[id(block)], inputs[0].numpy())))
        for block in network.sublayers()
        if isinstance(block, ResBlock)
    ]
    paddle.seed(1)
    with paddle.no_grad():
        network(**inputs_c(network), cnet=control)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize(
    "options, order",
    [
        ({}, ["down_blocks.0.0", "down_blocks.1.0", "up_blocks.0.0", "up_blocks.1.0"]),
        (
            dict(blocks=[[1, 2], [2, 1]]),
            [
                "down_blocks.0.0",
                "down_blocks.1.0",
                "down_blocks.1.3",
                "up_blocks.0.0",
                "up_blocks.0.3",
                "up_blocks.1.0",
            ],
        ),
        (
            dict(block_repeat=[[1, 2], [1, 2]]),
            ["down_blocks.0.0"] + ["down_blocks.1.0"] * 2 + ["up_blocks.0.0"] + ["up_blocks.1.0"] * 2,
        ),
        (
            dict(level_config=["CTF", "FCT"]),  # the feed-forward blocks take no residual
            ["down_blocks.0.0", "down_blocks.1.1", "up_blocks.0.1", "up_blocks.1.0"],
        ),
    ],
)
def test_counting_order(options, order):
    network = stage_c(**options)
    plain = visits(network)
    assert [name for name, _ in plain] == order
    for index in range(len(order)):
        control = [None] * index + [paddle.full([2, 16, 6, 4], 3.0)]
        changed = [float(np.abs(a - b).max()) for (_, a), (_, b) in zip(plain, visits(network, control))]
        assert changed[:index] == [0.0] * index and abs(changed[index] - 3) < 1e-4


def test_a_residual_is_resized_to_the_image():
    conditioning = Conditioning(timesteps=[], tokens=None, control=iter([paddle.to_tensor([[[[0.0, 1.0]]]]), None]))
    x = paddle.zeros([1, 2, 3, 1])
    np.testing.assert_allclose(conditioning.add_control(x)[0, :, :, 0].numpy(), [[0, 0.5, 1]] * 2)
    assert conditioning.add_control(x) is x and conditioning.add_control(x) is x  # None, and then no more of them
