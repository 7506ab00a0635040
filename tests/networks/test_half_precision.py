"""Float16 as the layers would see it: the recorded network survives it, and an overflow is named."""

import numpy as np
import paddle
import pytest
from helpers import REFERENCE, distance

from ldm.networks.half_precision import simulate_float16
from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC
from ldm.parity.networks import STAGE_B_INPUTS, STAGE_C_INPUTS
from ldm.parity.record import Record

# A rounding to 11 bits is off by 2.8e-4 on average (2^-11 / sqrt(3)), and some 30 layers lie between input and output
# one behind the other: sqrt(30) * 2.8e-4 = 1.5e-3 if they add up at random. Measured: 0.7e-3 and 0.9e-3.
TOLERANCE = 5e-3


def recorded(name, cls, inputs):
    record = Record(REFERENCE / f"{name}.safetensors")
    return record.build(cls, name[:7]), {key: record.tensor(f"in.{key}") for key in inputs}, record.array("out.pred")


@pytest.fixture
def stage_c():
    return recorded("stage_c_tiny", StageC, STAGE_C_INPUTS)


@paddle.no_grad()
@pytest.mark.parametrize(
    "case",
    [("stage_c_tiny", StageC, STAGE_C_INPUTS), ("stage_b_tiny", StageB, STAGE_B_INPUTS)],
    ids=lambda case: case[0],
)
def test_recorded_forward_survives_float16(case):
    network, inputs, expected = recorded(*case)
    with simulate_float16(network) as report:
        ours = network(**inputs)
    assert report.first_overflow is None and np.isfinite(ours.numpy()).all()
    error = distance(ours, expected)
    assert 1e-5 < error < TOLERANCE  # not below: then nothing would have been rounded
    name, size = report.largest
    assert name in dict(network.named_sublayers()) and 0 < size < 65504


@paddle.no_grad()
def test_rounding_ends_with_the_block(stage_c):
    network, inputs, expected = stage_c
    with pytest.raises(ZeroDivisionError):
        with simulate_float16(network):
            raise ZeroDivisionError
    assert distance(network(**inputs), expected) < 1e-5


@paddle.no_grad()
@pytest.mark.parametrize(
    "layer",
    ["down_blocks.1.0.channelwise.0", "down_blocks.1.5.kv_mapper.1", "up_blocks.0.2.attention.attn.out_proj", "clf.1"],
)
def test_first_overflow_is_named(stage_c, layer):
    network, inputs, _ = stage_c
    owner = dict(network.named_sublayers())[layer]
    owner.weight.set_value(owner.weight * 1e7)
    with simulate_float16(network) as report:
        network(**inputs)
    assert report.first_overflow == layer
    assert f"{layer}.weight" in network.state_dict()


@paddle.no_grad()
def test_overflow_of_a_residual_sum_is_named(stage_c):
    network, inputs, _ = stage_c
    between = network.down_blocks[1][1].parameters()  # a timestep block
    for parameter in [*between, network.down_blocks[1][3].depthwise.weight]:  # neither shall enlarge anything
        parameter.set_value(paddle.zeros_like(parameter))
    for index in (0, 3):  # each finite by itself
        bias = network.down_blocks[1][index].channelwise[4].bias
        bias.set_value(paddle.full_like(bias, 60000.0))
    with simulate_float16(network) as report:
        network(**inputs)
    assert report.first_overflow == "down_blocks.1.3"


@paddle.no_grad()
def test_sum_of_squares_beyond_float16_is_harmless(stage_c):
    """GlobalResponseNorm squares: activations of a few hundred would overflow if it did so in float16."""
    norm = stage_c[0].down_blocks[0][0].channelwise[2]
    x = paddle.full([1, 8, 8, norm.gamma.shape[-1]], 400.0)
    with simulate_float16(norm) as report:
        out = norm(x)
    assert report.first_overflow is None and np.isfinite(out.numpy()).all()
