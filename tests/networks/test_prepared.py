"""Conditions looked at once give what looking at them in every step gives."""

import numpy as np
import paddle
import pytest
from helpers import distance
from tiny_networks import inputs_b, inputs_c, stage_b, stage_c

from ldm.adapters.lora import LoRA
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.sampling import SamplingSettings, sample

NETWORKS = {
    "C": (stage_c, {}, inputs_c),
    "C, repeats": (stage_c, dict(block_repeat=[[2, 1], [3, 2]]), inputs_c),
    "C, no self-attention": (stage_c, dict(self_attn=[True, False]), inputs_c),
    "C, switch": (stage_c, dict(switch_level=[True], level_config=["CTF", "CTAF"]), inputs_c),
    "B": (stage_b, {}, inputs_b),
    "B, repeats": (stage_b, dict(block_repeat=[[1, 2, 1, 1], [3, 3, 2, 2]]), inputs_b),
}


def split(inputs):
    """(x, r) and the conditions."""
    return (inputs["x"], inputs["r"]), {key: value for key, value in inputs.items() if key not in ("x", "r")}


@paddle.no_grad()
@pytest.mark.parametrize("make, options, make_inputs", NETWORKS.values(), ids=NETWORKS)
def test_bound_is_forward(make, options, make_inputs):
    network = make(**options)
    (x, r), conditions = split(make_inputs(network))
    bound = network.bound(x.shape[2:], **conditions)
    for factor in (1.0, -0.5):  # the same conditions for another step
        plain = network(x * factor, r * 0.9, **conditions)
        assert distance(bound(x * factor, r * 0.9), plain) < 1e-6


@paddle.no_grad()
def test_pixels_residuals_and_further_conditions_count():
    network = stage_b()
    (x, r), conditions = split(inputs_b(network))
    conditions |= {"pixels": paddle.randn([2, 3, 8, 8]), "sca": paddle.full([2], 0.3)}
    plain = network(x, r, **conditions)
    assert distance(network.bound(x.shape[2:], **conditions)(x, r), plain) < 1e-6
    assert distance(network.bound(x.shape[2:], **{**conditions, "sca": None})(x, r), plain) > 1e-3

    network = stage_c()
    (x, r), conditions = split(inputs_c(network))
    conditions["cnet"] = [paddle.randn([2, 16, 3, 2]), None, paddle.randn([2, 16, 6, 4])]
    bound = network.bound(x.shape[2:], **conditions)
    for _ in range(2):  # every step has all the residuals
        assert distance(bound(x, r), network(x, r, **conditions)) < 1e-6
    with pytest.raises(ValueError, match="Unknown conditions.*other"):
        network.bound(x.shape[2:], **conditions, other=r)(x, r)


@paddle.no_grad()
@pytest.mark.parametrize("filters", [(".attn",), ("kv_mapper", "clip_txt_mapper"), ("channelwise",)])
def test_an_attached_lora_is_in_what_is_prepared(filters):
    network = stage_c()
    (x, r), conditions = split(inputs_c(network))
    before = network.bound(x.shape[2:], **conditions)(x, r)
    for parameter in LoRA(network, filters, rank=2).parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.3)
    after = network.bound(x.shape[2:], **conditions)(x, r)
    assert distance(after, network(x, r, **conditions)) < 1e-6 and distance(after, before) > 1e-3


@paddle.no_grad()
@pytest.mark.parametrize(
    "guidance, looks",
    [(Guidance(4.0), [4]), (Guidance(1.0), [2]), (Guidance(4.0, t_stop=0.6), [4, 2]), (Guidance((1.0, 4.0)), [2, 4])],
)
def test_the_sampling_loop_looks_once_and_only_at_what_it_needs(guidance, looks):
    """Rows that were looked at: both halves of guidance, or the two conditional ones where nothing is guided."""
    network = stage_c()
    (x, _), conditions = split(inputs_c(network))
    nothing = {name: paddle.zeros_like(value) for name, value in conditions.items()}
    seen, prepare = [], network.prepare

    def watched(size, **given):
        seen.append(given["clip_img"].shape[0])
        return prepare(size, **given)

    settings, shape = SamplingSettings(4, "ddim", guidance), x.shape[1:]
    plain = list(
        sample(lambda *a, **k: network(*a, **k), conditions, nothing, shape, NoiseStream([0, 1], "t"), settings)
    )
    network.prepare = watched
    steps = list(sample(network, conditions, nothing, shape, NoiseStream([0, 1], "t"), settings))
    assert seen == looks
    for ours, expected in zip(steps, plain):
        assert distance(ours.x0, expected.x0) < 1e-5


def test_gradients_and_recompute_take_the_plain_way():
    """Training keeps using `forward`, in which the blocks look at the tokens themselves."""
    network = stage_c()
    network.train()
    network.enable_recompute = True
    inputs = inputs_c(network)
    (network(**inputs) ** 2).sum().backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for name, p in network.named_parameters() if "kv_mapper" in name)
