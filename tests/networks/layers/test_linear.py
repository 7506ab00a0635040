"""A linear layer is Paddle's own to everyone who looks at it."""

import paddle
from paddle import nn

from ldm.networks.layers.linear import Linear, linear


def test_a_linear_is_still_one_of_paddles():
    layer = linear(12, 20)
    assert isinstance(layer, nn.Linear) and type(layer) is Linear
    assert list(layer.state_dict()) == ["weight", "bias"]


def test_a_traced_linear_is_paddles_own():
    layer = linear(12, 20)
    traced = paddle.jit.to_static(layer, input_spec=[paddle.static.InputSpec([2, 5, 12])], full_graph=True)
    operations = [operation.name() for operation in traced.forward.main_program.global_block().ops]
    assert "pd_op.matmul" in operations and "pd_op.addmm" not in operations
