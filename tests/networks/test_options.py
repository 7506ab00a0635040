"""Every constructor option of Stage C and B: it runs, keeps the shape, and gradients reach every parameter."""

import numpy as np
import paddle
import pytest
from tiny_networks import inputs_b, inputs_c, stage_b, stage_c, unreached

THREE_LEVELS = dict(block_repeat=None, level_config=["CTA"] * 3)
OPTIONS_C = {
    "defaults": ({}, {}),
    "unequal widths": (dict(c_hidden=[8, 16], nhead=[1, 4]), {}),
    "one level": (
        dict(c_hidden=[16], nhead=[2], blocks=[[2], [1]], block_repeat=None, level_config=["CTA"], switch_level=[]),
        {},
    ),
    "three levels": (
        dict(
            c_hidden=[8, 16, 24],
            nhead=[2, 2, 2],
            blocks=[[1, 2, 1], [1, 2, 1]],
            **THREE_LEVELS,
            switch_level=[False] * 2,
        ),
        {},
    ),
    "repeats": (dict(block_repeat=[[2, 1], [3, 2]]), {}),
    "switch": (dict(switch_level=[True]), {}),
    "switch, odd sides": (dict(switch_level=[True]), dict(size=(7, 5))),
    "two switches, odd sides": (
        dict(c_hidden=[8, 8, 8], nhead=[2] * 3, blocks=[[1] * 3, [1] * 3], **THREE_LEVELS, switch_level=[True, True]),
        dict(size=(9, 7)),
    ),
    "patches": (dict(patch_size=2), {}),
    "patches and switch": (dict(patch_size=2, switch_level=[True]), dict(size=(10, 12))),
    "three image embeddings": ({}, dict(images=3)),
    "77 tokens": ({}, dict(text=77)),
    "feed-forward": (dict(level_config=["CTF", "CFTA"]), {}),
    "two residual blocks a unit": (dict(level_config=["CCT", "CTA"]), {}),
    "no conditions": (dict(t_conds=[]), {}),
    "one condition": (dict(t_conds=["crp"]), {}),
    "no self-attention": (dict(self_attn=False), {}),
    "self-attention in one level": (dict(self_attn=[True, False]), {}),
    "large kernel": (dict(kernel_size=5), {}),
    "one pixel": ({}, dict(size=(1, 1))),
    "other width out": (dict(c_out=6), {}),
    "odd timestep width": (dict(c_r=9), {}),
}
OPTIONS_B = {
    "defaults": ({}, {}),
    "repeats": (dict(block_repeat=[[1, 2, 1, 1], [3, 3, 2, 2]]), {}),
    "one patch per pixel": (dict(patch_size=1), {}),
    "equal widths": (dict(c_hidden=[16] * 4), {}),
    "two levels": (
        dict(c_hidden=[8, 16], nhead=[-1, 2], blocks=[[1, 2], [2, 1]], block_repeat=None, level_config=["CT", "CTA"]),
        dict(size=(8, 12)),
    ),
    "feed-forward": (dict(level_config=["CTF", "CT", "CTA", "CTFA"]), {}),
    "no conditions": (dict(t_conds=[]), {}),
    "no self-attention": (dict(self_attn=False), {}),
    "sides that do not divide": ({}, dict(size=(18, 26))),  # 9 x 13 -> 4 x 6 -> 2 x 3 -> 1 x 1, and back
}


def loss_of(prediction):
    return (prediction * paddle.linspace(-1, 1, prediction.size).reshape(prediction.shape)).sum()


@pytest.mark.parametrize("options, sizes", OPTIONS_C.values(), ids=OPTIONS_C)
def test_stage_c(options, sizes):
    network = stage_c(**options)
    inputs = inputs_c(network, **sizes)
    prediction = network(**inputs)
    assert prediction.shape == [2, options.get("c_out", 4), *inputs["x"].shape[2:]]
    assert np.isfinite(prediction.numpy()).all()
    loss_of(prediction).backward()
    assert unreached(network) == []


@pytest.mark.parametrize("options, sizes", OPTIONS_B.values(), ids=OPTIONS_B)
def test_stage_b(options, sizes):
    network = stage_b(**options)
    inputs = inputs_b(network, **sizes)
    prediction = network(**inputs, pixels=paddle.randn([2, 3, 8, 8]))
    assert prediction.shape == inputs["x"].shape
    assert np.isfinite(prediction.numpy()).all()
    loss_of(prediction).backward()
    assert unreached(network) == []


@paddle.no_grad()
@pytest.mark.parametrize("name", ["sca", "crp"])
def test_a_condition_acts_and_is_zero_when_absent(name):
    network = stage_c()
    inputs = inputs_c(network)
    absent, zero, one = (
        network(**inputs, **extra) for extra in ({}, {name: paddle.zeros([2])}, {name: paddle.ones([2])})
    )
    np.testing.assert_array_equal(absent.numpy(), zero.numpy())
    assert float((one - absent).abs().max()) > 1e-3


def test_a_condition_the_network_lacks_is_refused():
    network = stage_c(t_conds=["crp"])
    with pytest.raises(ValueError, match="sca.*crp"):
        network(**inputs_c(network), sca=paddle.zeros([2]))


@paddle.no_grad()
@pytest.mark.parametrize("name", ["clip_text", "clip_text_pooled", "clip_img", "r"])
def test_every_input_of_stage_c_acts_on_its_own_sample_alone(name):
    network = stage_c()
    inputs = inputs_c(network)
    before = network(**inputs)
    changed = inputs[name].clone()
    changed[1] += 0.3
    after = network(**{**inputs, name: changed})
    difference = (after - before).abs().max(axis=[1, 2, 3])
    assert float(difference[0]) < 1e-5 and float(difference[1]) > 1e-3


@paddle.no_grad()
def test_absent_pixels_are_zeros_that_are_still_mapped():
    network = stage_b()
    inputs = inputs_b(network)
    np.testing.assert_array_equal(
        network(**inputs).numpy(), network(**inputs, pixels=paddle.zeros([2, 3, 8, 8])).numpy()
    )
    before = network(**inputs).numpy()
    network.pixels_mapper[0].bias.set_value(network.pixels_mapper[0].bias + 1.0)
    assert np.abs(network(**inputs).numpy() - before).max() > 1e-3


@paddle.no_grad()
def test_pooled_embeddings_may_lack_their_token_axis():
    network = stage_c()
    inputs = inputs_c(network)
    flat = {**inputs, "clip_text_pooled": inputs["clip_text_pooled"][:, 0], "clip_img": inputs["clip_img"][:, 0]}
    np.testing.assert_array_equal(network(**inputs).numpy(), network(**flat).numpy())
