"""Recomputed blocks: the same output and gradients, dropout included, from less memory."""

import numpy as np
import paddle
import pytest
from tiny_networks import inputs_b, inputs_c, stage_b, stage_c


def run(network, inputs, recompute: bool):
    """Output and gradients of every parameter."""
    network.train()
    network.enable_recompute = recompute
    paddle.seed(7)
    output = network(**inputs)
    (output * output).mean().backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in network.named_parameters()}
    network.clear_gradients()
    return output.numpy(), gradients


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("build, inputs_of", [(stage_c, inputs_c), (stage_b, inputs_b)], ids=["stage_c", "stage_b"])
def test_output_and_gradients_keep_their_bits(build, inputs_of, dropout):
    network = build(dropout=dropout)
    inputs = inputs_of(network)
    output, gradients = run(network, inputs, False)
    again, recomputed = run(network, inputs, True)
    assert np.array_equal(output, again)
    for name, gradient in gradients.items():
        assert np.array_equal(recomputed[name], gradient), name


def test_dropout_is_the_same_in_both_passes():
    """Without restoring the generator, the second pass would draw other masks: what the first test would show."""
    network = stage_c(dropout=0.3)
    inputs = inputs_c(network)
    network.train()
    one, other = (network(**inputs).numpy() for _ in range(2))
    assert not np.array_equal(one, other)


def test_blocks_are_run_a_second_time_only_for_gradients():
    network, calls = stage_c(), []
    inputs = inputs_c(network)
    network.enable_recompute = True
    network.down_blocks[0][0].register_forward_post_hook(lambda *_: calls.append(1))
    with paddle.no_grad():
        network.train()
        network(**inputs)
    network.eval()
    network(**inputs).sum().backward()
    assert len(calls) == 2
    network.train()
    network(**inputs).sum().backward()
    assert len(calls) == 4
