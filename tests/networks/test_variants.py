"""The released sizes: parameter counts and the release's keys, on networks that are never allocated."""

import math

import pytest
from helpers import run_python

from ldm.networks.blocks import AttnBlock, ResBlock
from ldm.networks.variants import VARIANTS, variant_config
from ldm.weights.plan import network_shapes, release_shapes
from ldm.weights.release import build_unfilled

# Without BatchNorm's statistics, which Paddle too calls parameters, only not trainable ones
COUNTS = {
    ("stage_c", "3.6B"): 3_589_103_632,
    ("stage_c", "1B"): 1_030_785_040,
    ("stage_b", "3B"): 1_562_941_136,
    ("stage_b", "700M"): 699_471_248,
    ("stage_a", None): 18_406_894,
    ("previewer", None): 3_979_651,
}
UNETS = [key for key in COUNTS if key[1]]
SHAPES = {  # the release's constructor arguments, written out once more: (units down, units up, runs up, layouts)
    ("stage_c", "3.6B"): ([8, 24], [24, 8], [1, 1], ["CTA", "CTA"]),
    ("stage_c", "1B"): ([4, 12], [12, 4], [1, 1], ["CTA", "CTA"]),
    ("stage_b", "3B"): ([2, 6, 28, 6], [6, 28, 6, 2], [3, 3, 2, 2], ["CT", "CT", "CTA", "CTA"]),
    ("stage_b", "700M"): ([2, 4, 14, 4], [4, 14, 4, 2], [2, 2, 2, 2], ["CT", "CT", "CTA", "CTA"]),
}
CONDITIONS = {"stage_c": ["", "_sca", "_crp"], "stage_b": ["", "_sca"]}


SILENT = {  # what no shape shows: per level heads (none without attention) and dropout of the network
    ("stage_c", "3.6B"): ([32, 32], [0.1, 0.1]),
    ("stage_c", "1B"): ([24, 24], [0.1, 0.1]),
    ("stage_b", "3B"): ([None, None, 20, 20], [0, 0, 0.1, 0.1]),
    ("stage_b", "700M"): ([None, None, 18, 18], [0, 0, 0.1, 0.1]),
}


def unfilled(kind, version):
    return build_unfilled(kind, variant_config(kind, version) if version else {})


def block_tensors(kind, letter):
    """Names of a block's tensors in the release, by its letter."""

    def both(name):
        return [f"{name}.weight", f"{name}.bias"]

    mlp = both("channelwise.0") + ["channelwise.2.gamma", "channelwise.2.beta"] + both("channelwise.4")
    attention = ["attention.attn.in_proj_weight", "attention.attn.in_proj_bias"] + both("attention.attn.out_proj")
    return {
        "C": both("depthwise") + mlp,
        "T": [name for condition in CONDITIONS[kind] for name in both(f"mapper{condition}")],
        "A": attention + both("kv_mapper.1"),
    }[letter]


def expected_keys(kind, version):
    """The release's keys, from its layout rules and not from our network."""
    down, up, up_runs, layouts = SHAPES[kind, version]
    layers = ["embedding.1", "clf.1"]
    layers += [f"clip_{name}_mapper" for name in ("txt", "txt_pooled", "img")] if kind == "stage_c" else ["clip_mapper"]
    layers += [f"{name}_mapper.{i}" for name in ("effnet", "pixels") for i in (0, 2)] if kind == "stage_b" else []
    joint = (".1.blocks.0", ".1.blocks.1") if kind == "stage_c" else (".1", ".1")
    levels = len(down)
    layers += [f"down_downscalers.{i}{joint[0]}" for i in range(1, levels)]
    layers += [f"up_upscalers.{i}{joint[1]}" for i in range(levels - 1)]
    layers += [f"up_repeat_mappers.{level}.{run}" for level, runs in enumerate(up_runs) for run in range(runs - 1)]
    keys = [f"{layer}.{leaf}" for layer in layers for leaf in ("weight", "bias")]
    for way, units, layout in (("down", down, layouts), ("up", up, layouts[::-1])):
        for level in range(levels):
            for index, letter in enumerate(layout[level] * units[level]):
                keys += [f"{way}_blocks.{level}.{index}.{name}" for name in block_tensors(kind, letter)]
    return keys


@pytest.mark.parametrize("kind, version", COUNTS)
def test_parameter_count(kind, version):
    network = unfilled(kind, version)
    assert sum(math.prod(p.shape) for p in network.parameters() if p.trainable) == COUNTS[kind, version]


@pytest.mark.parametrize("kind, version", UNETS)
def test_keys_are_the_releases(kind, version):
    keys = list(release_shapes(unfilled(kind, version), kind))
    expected = expected_keys(kind, version)
    assert len(set(expected)) == len(expected)
    assert sorted(keys) == sorted(expected)


@pytest.mark.parametrize("kind, version", UNETS)
def test_our_keys_are_the_same_names(kind, version):
    network = unfilled(kind, version)
    assert sorted(network_shapes(network)) == sorted(release_shapes(network, kind))


@pytest.mark.parametrize("kind, version", UNETS)
def test_heads_and_dropout(kind, version):
    network = unfilled(kind, version)
    heads, dropout = SILENT[kind, version]
    for way, order in ((network.down_blocks, 1), (network.up_blocks, -1)):
        for blocks, expected_heads, expected_dropout in zip(way, heads[::order], dropout[::order]):
            attention = [block for block in blocks if isinstance(block, AttnBlock)]
            assert {block.attention.attn.heads for block in attention} == (
                {expected_heads} if expected_heads else set()
            )
            assert all(block.self_attn and block.attention.attn.dropout == expected_dropout for block in attention)
            assert {block.channelwise[3].p for block in blocks if isinstance(block, ResBlock)} == {expected_dropout}


def test_largest_network_is_described_without_being_allocated():
    code = """
import time
from ldm.common.memory import peak_memory
from ldm.weights.release import build_unfilled
build_unfilled("stage_c", dict(c_cond=64, c_hidden=[64, 64], nhead=[2, 2], blocks=[[1, 1], [1, 1]]))
before, start = peak_memory(), time.process_time()
build_unfilled("stage_c", {})
print(time.process_time() - start, (peak_memory() - before) / 2**20)
"""
    seconds, mebibytes = map(float, run_python(code).split()[-2:])
    assert seconds < 5 and mebibytes < 200  # the weights themselves would take 13,700 MiB


@pytest.mark.parametrize("kind", VARIANTS)
def test_unknown_version_names_the_known_ones(kind):
    with pytest.raises(ValueError, match="'2B'.*" + ".*".join(sorted(VARIANTS[kind][1]))):
        variant_config(kind, "2B")


def test_a_variant_is_a_copy():
    variant_config("stage_c", "1B").clear()
    assert variant_config("stage_c", "1B")
