"""LoRA on a network: nothing at the start, the same attached and merged, and the network's own state untouched."""

import numpy as np
import paddle
import pytest
from helpers import distance
from tiny_networks import TINY_C, filled, inputs_c, stage_c, unreached

from ldm.adapters.lora import LoRA, find_targets, linear_targets
from ldm.networks.stage_c import StageC

NO_GRAD = paddle.no_grad()


def moved(lora):
    """Random numbers in both halves."""
    paddle.seed(1)
    for parameter in lora.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.3)
    return lora


def weights(network):
    return {key: value.numpy().copy() for key, value in network.state_dict().items()}


def test_a_new_lora_changes_nothing():
    network = stage_c()
    inputs = inputs_c(network)
    with NO_GRAD:
        before = network(**inputs).numpy()
        LoRA(network)
        assert np.array_equal(network(**inputs).numpy(), before)


@pytest.mark.parametrize("filters", [(".attn",), ("channelwise", "mapper"), ("clf", "embedding"), ("*.out_proj",)])
def test_attached_equals_merged_and_unmerging_restores(filters):
    network = stage_c()
    inputs, base = inputs_c(network), weights(network)
    with NO_GRAD:
        plain = network(**inputs)
        lora = moved(LoRA(network, filters, rank=3, alpha=2.0))
        attached = network(**inputs)
        lora.merge()
        merged = network(**inputs)
        assert distance(attached, plain) > 1e-3
        assert distance(merged, attached) < 1e-6
        lora.unmerge()
        assert distance(network(**inputs), attached) < 1e-6
        lora.detach()
        for key, value in weights(network).items():
            assert np.abs(value - base[key]).max() <= 1e-6, key


def test_the_state_dict_keeps_its_keys():
    network = stage_c()
    keys = list(network.state_dict())
    lora = LoRA(network)
    assert list(network.state_dict()) == keys
    assert all(parameter.stop_gradient for parameter in network.parameters())
    assert list(lora.state_dict())[:2] == ["0.lora_down", "0.lora_up"]


@pytest.mark.parametrize("recompute", [False, True])
def test_the_gradient_is_that_of_the_merged_weight(recompute):
    """d loss / d up and d down follow from d loss / d weight by the chain rule: compared with a plain network's."""
    network, inputs = stage_c(), None
    inputs = inputs_c(network)
    lora = moved(LoRA(network, rank=2, alpha=3.0))
    network.train()  # TINY_C has no dropout
    network.enable_recompute = recompute
    (network(**inputs) ** 2).sum().backward()
    assert not unreached(lora)
    assert all(parameter.grad is None for parameter in network.parameters())
    gradients = [(pair.lora_down.grad, pair.lora_up.grad) for pair in lora]

    lora.merge()
    for parameter in network.parameters():
        parameter.stop_gradient = False
    (network(**inputs) ** 2).sum().backward()
    for pair, target, (down, up) in zip(lora, lora.targets, gradients):
        whole = target.weight.grad.t() * pair.scale  # (c_out, c_in)
        assert distance(down, paddle.matmul(pair.lora_up.t(), whole)) < 1e-4
        assert distance(up, paddle.matmul(whole, pair.lora_down.t())) < 1e-4


def test_dropout_falls_on_the_lora_alone_and_only_in_training():
    network = stage_c()
    inputs = inputs_c(network)
    with NO_GRAD:
        plain = network(**inputs)
        lora = LoRA(network, dropout=0.5)
        assert np.array_equal(network(**inputs).numpy(), plain.numpy())
        moved(lora)
        first, second = network(**inputs), network(**inputs)
        assert not np.array_equal(first.numpy(), second.numpy())
        lora.eval()
        assert np.array_equal(network(**inputs).numpy(), network(**inputs).numpy())


def test_positions_follow_the_release():
    """out_proj before the fused projection of the same attention, and text mappers before everything else."""
    network = StageC(**TINY_C)
    keys = [target.key for target in find_targets(network)]
    assert keys[:2] == [
        "down_blocks.0.2.attention.attn.out_proj.weight",
        "down_blocks.0.2.attention.attn.in_proj_weight",
    ]
    keys = [target.key for target in linear_targets(network)]
    assert keys[:4] == [
        "clip_txt_mapper.weight", "clip_txt_pooled_mapper.weight", "clip_img_mapper.weight", "embedding.1.weight",
    ]  # fmt: skip
    assert keys[-1] == "clf.1.weight"


def test_the_same_seed_gives_the_same_start():
    first, second, other = (LoRA(stage_c(), seed=seed) for seed in (3, 3, 4))
    for a, b, c in zip(first, second, other):
        assert np.array_equal(a.lora_up.numpy(), b.lora_up.numpy()) and not np.array_equal(a.lora_up, c.lora_up)
    ups = np.concatenate([pair.lora_up.numpy().ravel() for pair in first])
    assert abs(ups.std() - 1) < 0.1 and not any(pair.lora_down.numpy().any() for pair in first)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"filters": ["no_such_layer"]}, "no_such_layer match no Linear layer"),
        ({"filters": []}, "match no Linear"),
        ({"filters": ["down_blocks"]}, "not Linear .down_blocks.0.0.depthwise"),
        ({"filters": ["depthwise"]}, "depthwise match no Linear"),
        ({"rank": 0}, "rank >= 1"),
        ({"alpha": 0.0}, "alpha > 0"),
        ({"dropout": 1.0}, "dropout in"),
    ],
)
def test_what_cannot_be_done_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LoRA(filled(StageC(**TINY_C)), **options)


def test_two_loras_and_two_merges_are_refused():
    network = stage_c()
    lora = LoRA(network)
    with pytest.raises(ValueError, match="already has a LoRA"):
        LoRA(network)
    with pytest.raises(ValueError, match="not merged"):
        lora.unmerge()
    lora.merge()
    with pytest.raises(ValueError, match="already merged"):
        lora.merge()
