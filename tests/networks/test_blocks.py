"""Blocks and their parts against plain formulas, and the weights a training from scratch starts with."""

import math

import numpy as np
import paddle
import pytest
from helpers import array, distance
from tiny_networks import TINY_B, TINY_C, inputs_b, inputs_c

from ldm.networks.attention import MultiHeadAttention
from ldm.networks.blocks import Conditioning, FeedForwardBlock, ResBlock, TimestepBlock
from ldm.networks.layers.fast import stage_a
from ldm.networks.layers.norms import GlobalResponseNorm, LayerNorm2D
from ldm.networks.layers.resample import resize
from ldm.networks.stage_a import GatedResBlock, StageA
from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC, UpDownBlock2D
from ldm.networks.timestep import timestep_embedding

FLOAT32 = 1e-6  # relative, of float32 against float64 over a handful of operations
UNCONDITIONED = Conditioning(timesteps=[], tokens=None)


@paddle.no_grad()
def test_global_response_norm_is_a_vector_norm():
    norm = GlobalResponseNorm(7)
    x = paddle.randn([2, 3, 5, 7])
    norm.gamma.set_value(paddle.randn(norm.gamma.shape))
    norm.beta.set_value(paddle.randn(norm.beta.shape))
    wide = array(x)
    response = np.sqrt(
        (wide**2).sum(axis=(1, 2), keepdims=True)
    )  # not np.linalg.norm over two axes: that is a matrix norm
    relative = response / (response.mean(axis=-1, keepdims=True) + 1e-6)
    assert distance(norm(x), array(norm.gamma) * (wide * relative) + array(norm.beta) + wide) < FLOAT32


@paddle.no_grad()
def test_layer_norm_has_no_weights_and_a_small_epsilon():
    norm = LayerNorm2D(6)
    x = paddle.randn([2, 3, 3, 6]) * 1e-3  # a variance of 1e-6, where epsilon decides
    wide = array(x)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    assert list(norm.parameters()) == [] and distance(norm(x), expected) < 1e-5


@pytest.mark.parametrize("width", [4, 64, 9])
def test_timestep_embedding(width):
    r = np.array([0.0, 1e-3, 0.37, 1.0], np.float32)
    half = width // 2
    exponent = np.arange(half) * -math.log(10000) / (half - 1)
    phase = r.astype("float64")[:, None] * 10000 * np.exp(exponent)
    expected = np.concatenate([np.sin(phase), np.cos(phase), np.zeros((4, width % 2))], axis=1)
    ours = timestep_embedding(paddle.to_tensor(r), width)
    assert ours.shape == [4, width] and ours.dtype == paddle.float32
    # At 10000 radians float32 is 5e-4 wide, and so is the phase's error whatever computes it
    assert np.abs(array(ours) - expected).max() < 2e-3
    np.testing.assert_allclose(array(ours)[0], [0] * half + [1] * half + [0] * (width % 2))


def test_timestep_embedding_ignores_the_precision_around_it():
    r = paddle.to_tensor([0.37])
    exact = timestep_embedding(r, 64)
    with paddle.amp.auto_cast(level="O2", dtype="bfloat16"):
        np.testing.assert_array_equal(timestep_embedding(r, 64).numpy(), exact.numpy())


@paddle.no_grad()
def test_timestep_block_sums_its_conditions():
    block = TimestepBlock(5, 4, conds=("sca", "crp"))
    for parameter in block.parameters():
        parameter.set_value(paddle.randn(parameter.shape))
    x, embeddings = paddle.randn([2, 3, 3, 5]), [paddle.randn([2, 4]) for _ in range(3)]
    mappers = (block.mapper, block.mapper_sca, block.mapper_crp)
    total = sum(array(e) @ array(m.weight) + array(m.bias) for m, e in zip(mappers, embeddings))[:, None, None]
    expected = array(x) * (1 + total[..., :5]) + total[..., 5:]
    assert distance(block(x, Conditioning(timesteps=embeddings, tokens=None)), expected) < FLOAT32


@paddle.no_grad()
def test_residual_blocks_add_to_their_input():
    x = paddle.randn([1, 4, 4, 6])
    for block in (ResBlock(6), ResBlock(6, c_skip=3), FeedForwardBlock(6)):
        block.channelwise[4].weight.set_value(paddle.zeros_like(block.channelwise[4].weight))
        skip = (
            [paddle.randn([1, 4, 4, 3])]
            if isinstance(block, ResBlock) and block.channelwise[0].weight.shape[0] == 9
            else []
        )
        np.testing.assert_array_equal(block(x, UNCONDITIONED, *skip).numpy(), x.numpy())


@pytest.mark.parametrize("heads", [1, 4])
def test_attention_is_torchs(heads):
    torch = pytest.importorskip("torch")
    ours, theirs = MultiHeadAttention(16, heads), torch.nn.MultiheadAttention(16, heads, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_bias.normal_()
        theirs.out_proj.bias.normal_()
        for name, tensor in theirs.state_dict().items():
            ours.state_dict()[name].set_value((tensor.T if tensor.ndim == 2 else tensor).contiguous().numpy())
        query, keys = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
        expected, _ = theirs(query, keys, keys)
    assert distance(ours(paddle.to_tensor(query.numpy()), paddle.to_tensor(keys.numpy())), expected.numpy()) < FLOAT32


def test_attention_drops_weights_in_training_only():
    attention = MultiHeadAttention(8, 2, dropout=0.5)
    tokens = paddle.randn([1, 6, 8])
    attention.eval()
    np.testing.assert_array_equal(attention(tokens, tokens).numpy(), attention(tokens, tokens).numpy())
    attention.train()
    assert distance(attention(tokens, tokens), attention(tokens, tokens)) > 1e-2


@pytest.mark.parametrize("size", [(3, 2), (6, 4), (12, 8), (5, 7), (1, 1)])
def test_resize_is_torchs_with_aligned_corners(size):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 4), dtype=np.float32)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x), size=size, mode="bilinear", align_corners=True)
    assert distance(resize(paddle.to_tensor(x), size), expected.numpy()) < FLOAT32


@pytest.mark.parametrize("size", [(6, 4), (7, 5), (2, 3)])
@pytest.mark.parametrize("mode, factor", [("down", 0.5), ("up", 2)])
def test_switching_levels_is_torchs_upsample(size, mode, factor):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((1, 3, *size), dtype=np.float32)
    expected = torch.nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=True)(torch.from_numpy(x)).numpy()
    ours = UpDownBlock2D(3, 3, mode, True).rescale(paddle.to_tensor(x.transpose(0, 2, 3, 1)))
    assert distance(ours, expected.transpose(0, 2, 3, 1)) < FLOAT32


@paddle.no_grad()
@pytest.mark.parametrize("network, inputs", [(StageC(**TINY_C), inputs_c), (StageB(**TINY_B), inputs_b)], ids="CB")
def test_a_new_unet_predicts_exactly_zero(network, inputs):
    network.eval()
    assert float(network(**inputs(network)).abs().max()) == 0
    assert all(float(p.abs().max()) == 0 for name, p in network.named_parameters() if name.startswith("clf."))
    for block in network.sublayers():
        if isinstance(block, TimestepBlock):
            assert all(float(p.abs().max()) == 0 for p in block.parameters())
        if isinstance(block, GlobalResponseNorm):
            assert float(block.gamma.abs().max()) == float(block.beta.abs().max()) == 0


def test_other_initial_weights_are_the_releases():
    """Xavier bounds: stem 0.02 of it, the last Linear of a ResBlock scaled by sqrt(1 / units on the way down)."""
    paddle.seed(0)
    network = StageC(**{**TINY_C, "c_hidden": [64, 64], "blocks": [[2, 6], [6, 2]], "c_clip_text": 200})

    def bound(linear):
        fan_in, fan_out = linear.weight.shape
        return float(linear.weight.abs().max()) / math.sqrt(6 / (fan_in + fan_out))

    assert 0.018 < bound(network.embedding[1]) <= 0.02 * 1.001
    last = network.down_blocks[0][0].channelwise[4]
    assert 0.9 * math.sqrt(1 / 8) < bound(last) <= math.sqrt(1 / 8) * 1.001
    assert 0.9 < bound(network.down_blocks[0][0].channelwise[0]) <= 1.001
    assert abs(float(network.clip_txt_mapper.weight.std()) - 0.02) < 0.002


@paddle.no_grad()
def test_a_new_autoencoder_block_is_the_identity():
    x = paddle.randn([1, 5, 3, 4])
    block = GatedResBlock(4, 8)
    np.testing.assert_array_equal(block(x).numpy(), x.numpy())


@paddle.no_grad()
def test_quantiser_finds_the_nearest_code():
    network = StageA(c_hidden=8, bottleneck_blocks=1, codebook_size=16)
    network.eval()
    network.vquantizer.codebook.weight.set_value(paddle.randn([16, 4]))
    latent = paddle.randn([2, 4, 3, 5])
    quantised, loss = network.quantize(latent)
    codes, tokens = array(network.vquantizer.codebook.weight), array(latent).transpose(0, 2, 3, 1) * 0.43
    squared = ((tokens[..., None, :] - codes) ** 2).sum(-1)
    expected = codes[squared.argmin(-1)].transpose(0, 3, 1, 2) / 0.43
    assert distance(quantised, expected) < 1e-6
    assert distance(loss, 1.25 * squared.min(-1).mean() / 4) < 1e-5


def test_a_dead_channel_has_a_finite_gradient():
    """GELU is exactly 0 below -6: a channel of nothing else once made a training run's loss NaN."""
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).standard_normal((1, 2, 2, 3)).astype("float32")
    values[..., 1] = 0
    norm = GlobalResponseNorm(3)
    norm.gamma.set_value(paddle.ones([1, 1, 1, 3]))
    ours = paddle.to_tensor(values, stop_gradient=False)
    norm(ours).sum().backward()

    theirs = torch.tensor(values, requires_grad=True)
    response = torch.norm(theirs, p=2, dim=(1, 2), keepdim=True)
    (theirs * (response / (response.mean(dim=-1, keepdim=True) + 1e-6)) + theirs).sum().backward()
    assert np.allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-5, atol=1e-6)


@paddle.no_grad()
@pytest.mark.parametrize("at_once", [1, 7, 29, 30])
def test_autoencoder_in_rows_is_the_whole(monkeypatch, at_once):
    x, weight = paddle.randn([2, 5, 3, 4]), paddle.randn([4, 6])
    monkeypatch.setattr(stage_a, "IN_CACHE", 8 * at_once)
    seen = []

    def mlp(rows):
        seen.append(rows.size // 4)
        return paddle.matmul(rows, weight)

    assert distance(stage_a.in_rows(mlp, x, hidden=8), paddle.matmul(x, weight)) < 1e-6
    assert sum(seen) == 30 and max(seen) == at_once
