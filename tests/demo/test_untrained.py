"""Networks that training starts from: the same for the same seed, and the BatchNorms know their data."""

import paddle
import pytest
from tiny_networks import TINY_B

from ldm.demo.untrained import new_network
from ldm.training.batch_norms import settle_batch_norms, standardise_latents
from ldm.weights.convert import save_weights
from ldm.weights.release import load_network

STAGES = [
    {"fused": True, "expand": 2, "stride": 4, "c_in": 8, "c_out": 8, "layers": 1},
    {"fused": False, "expand": 2, "stride": 4, "c_in": 8, "c_out": 16, "layers": 2},
]


def test_settled_norms_normalise_alike_in_training_and_evaluation():
    images = paddle.rand([32, 3, 64, 64])
    encoder = new_network("effnet", {"channels": 16, "stages": STAGES}, seed=0)
    in_training = settle_batch_norms(encoder, images, encoder.encode)
    assert not encoder.training
    in_evaluation = encoder.encode(images)
    assert float((in_training - in_evaluation).abs().max()) < 1e-3
    assert all(
        abs(float(layer._variance.mean()) - 1) < 0.01
        for layer in encoder.sublayers()
        if isinstance(layer, paddle.nn.BatchNorm2D)
    )
    assert abs(float(in_evaluation.std()) - 1) < 0.01 and abs(float(in_evaluation.mean())) < 0.01
    assert all(layer._momentum == 0.9 for layer in encoder.sublayers() if isinstance(layer, paddle.nn.BatchNorm2D))


@pytest.mark.parametrize("kind, config", [("stage_b", TINY_B), ("stage_a", {"c_hidden": 16, "bottleneck_blocks": 1})])
def test_the_seed_decides_the_weights(kind, config):
    first, again, other = (new_network(kind, config, seed).state_dict() for seed in (1, 1, 2))
    assert all(bool((first[key] == again[key]).all()) for key in first)
    assert any(bool((first[key] != other[key]).any()) for key in first)


def test_what_a_network_predicts_is_kept_in_its_file(tmp_path):
    config = {**TINY_B, "prediction_type": "v_prediction"}
    network = new_network("stage_b", config, 0)
    save_weights(network, tmp_path / "b.safetensors", "stage_b", config=config, to_release=True)
    assert load_network(tmp_path / "b.safetensors", "stage_b").prediction_type == "v_prediction"
    assert new_network("stage_b", TINY_B, 0).prediction_type == "epsilon"
    with pytest.raises(ValueError, match="prediction_type 'image' is unknown: one of epsilon, v_prediction"):
        new_network("stage_b", {**TINY_B, "prediction_type": "image"}, 0)


def test_noise_does_not_hide_where_it_is():
    """Zero padding shows in the first residual block, whatever the noise."""
    network = new_network("stage_b", TINY_B, 0)
    network.eval()
    noise = paddle.randn([64, network.c_in, 16, 16])
    stem = network.embedding(noise)
    seen = network.down_blocks[0][0].depthwise(stem).mean(axis=0)  # (8, 8, C)
    inside = seen[2:-2, 2:-2]
    border_apart = (seen[0, 2:-2] - inside.mean([0, 1])).square().mean()
    assert float(border_apart) > 3 * float(inside.var(axis=[0, 1]).mean())


def test_latents_are_standardised_whatever_training_made_of_them():
    images = paddle.rand([32, 3, 64, 64])
    encoder = new_network("effnet", {"channels": 16, "stages": STAGES}, seed=0)
    settle_batch_norms(encoder, images, encoder.encode)
    mapper = encoder.mapper[0].weight
    mapper.set_value(mapper * 3 + 0.1)  # as training moves them
    before = encoder.encode(images)
    mean, deviation = standardise_latents(encoder, images)
    after = encoder.encode(images)
    assert float((after.mean([0, 2, 3])).abs().max()) < 1e-3 and float((after.std([0, 2, 3]) - 1).abs().max()) < 1e-3
    back = after * deviation.reshape([1, -1, 1, 1]) + mean.reshape([1, -1, 1, 1])
    assert float((back - before).norm() / before.norm()) < 1e-4
