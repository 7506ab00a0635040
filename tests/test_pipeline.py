"""StableCascade and its stages: seeds, sizes, batch mates, shared towers."""

import numpy as np
import pytest

from ldm.model_b import ModelB
from ldm.model_c import ModelC
from ldm.pipeline import GenerationSettings, StableCascade


@pytest.fixture(scope="module")
def cascade(rule_release):
    return StableCascade(rule_release)


def sample(cascade, captions, seeds, **options):
    return cascade.prior.sample(captions, 256, 256, seeds=seeds, steps=3, progress=False, **options).numpy()


def test_an_image_does_not_depend_on_its_batch_mates(cascade):
    together = sample(cascade, ["a fox", "a boat", "a tree"], [7, 8, 9])
    for index, (caption, seed) in enumerate([("a fox", 7), ("a boat", 8), ("a tree", 9)]):
        alone = sample(cascade, [caption], [seed])
        error = np.linalg.norm(alone[0] - together[index]) / np.linalg.norm(alone[0])
        assert error < 1e-5  # float32 products of another batch size round differently


def test_seed_and_caption_decide(cascade):
    base = sample(cascade, ["a fox"], [7])
    assert np.array_equal(base, sample(cascade, ["a fox"], [7]))
    for other in (
        sample(cascade, ["a fox"], [8]),
        sample(cascade, ["a boat"], [7]),
        sample(cascade, ["a fox"], [7], cfg=1.0),
    ):
        assert np.linalg.norm(base - other) / np.linalg.norm(base) > 1e-3


@pytest.mark.parametrize("height, width", [(256, 256), (257, 300), (320, 272), (260, 391)])
def test_exactly_the_size_asked_for(cascade, height, width):
    settings = GenerationSettings(height=height, width=width, steps=1, decoder_steps=1)
    images = cascade("a fox", 1, settings, progress=False)
    assert images.shape == (1, height, width, 3) and images.dtype == np.uint8


def test_log_image_keeps_its_known_signature(cascade):
    previews, latent = cascade.prior.log_image("a fox", 256, 256, 4.0, 2, 1, 2)
    assert previews.dtype == np.uint8 and previews.shape == (2, 48, 48, 3) and latent.shape == [2, 16, 6, 6]
    images, latent_b = cascade.decoder.log_image(latent, "a fox", steps=1)
    assert images.dtype == np.uint8 and images.shape == (2, 256, 256, 3) and latent_b.shape == [2, 4, 64, 64]
    assert not cascade.prior.unet.training


def test_one_text_tower_is_shared_and_no_frozen_weight_is_saved(cascade):
    assert cascade.prior.frozen is cascade.decoder.frozen
    for stage in (cascade.prior, cascade.decoder):
        assert all(key.startswith("unet.") for key in stage.state_dict())


def test_constructed_without_arguments_they_read_config(rule_release, monkeypatch):
    import config

    monkeypatch.setattr(config, "WEIGHTS_PATH", str(rule_release))
    prior, decoder = ModelC(), ModelB()
    assert prior.unet_path == rule_release / "stage_c_lite.safetensors"
    assert decoder.unet_path == rule_release / "stage_b_lite.safetensors"


def test_encode_then_decode_shapes(cascade):
    import paddle

    images = paddle.rand([1, 3, 96, 128])
    assert cascade.prior.encode(images).shape == [1, 16, 3, 4]
    latent = cascade.decoder.encode(images)
    assert latent.shape == [1, 4, 24, 32]
    assert cascade.decoder.decode(latent).shape == [1, 3, 96, 128]
