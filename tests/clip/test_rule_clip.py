"""ldm.demo.rule_clip: folders filled by the rule."""

import json

import numpy as np
import paddle
import pytest
from clip_files import TEXT, VISION
from helpers import distance
from safetensors.numpy import load_file

from ldm.clip.encoders import ImageEncoder, TextEncoder
from ldm.demo.rule_clip import write_image_encoder, write_text_encoder, write_tokenizer


def test_rule_reproduces_the_reference_weights(tmp_path):
    write_text_encoder(tmp_path / "text")
    write_image_encoder(tmp_path / "image")
    for written, reference in ((tmp_path / "text", TEXT), (tmp_path / "image", VISION)):
        ours, theirs = (load_file(folder / "model.safetensors") for folder in (written, reference))
        assert ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in theirs)
        ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (written, reference))
        assert {key: theirs[key] for key in ours} == ours


def test_rule_folders_load(tmp_path):
    write_tokenizer(tmp_path / "tokenizer")
    write_text_encoder(tmp_path / "text", width=32, projection_dim=16, layers=2, heads=2)
    encoder = TextEncoder.from_folder(tmp_path / "text", tmp_path / "tokenizer")
    assert (encoder.width, encoder.projection_dim, encoder.max_length) == (32, 16, 77)
    text_embeds, pooled = encoder.encode(["a cat", "a dog", "a cat", "猫"])
    assert np.isfinite(text_embeds.numpy()).all() and np.isfinite(pooled.numpy()).all()
    np.testing.assert_array_equal(pooled[0], pooled[2])
    assert min(distance(pooled[0], pooled[i]) for i in (1, 3)) > 0.1

    write_image_encoder(tmp_path / "image", width=32, projection_dim=8, layers=2, heads=2, image_size=28, patch_size=14)
    images = ImageEncoder.from_folder(tmp_path / "image")
    assert (images.image_size, images.projection_dim) == (28, 8)
    embeds = images(paddle.stack([paddle.zeros([3, 28, 28]), paddle.ones([3, 28, 28])])).numpy()
    assert np.isfinite(embeds).all() and distance(embeds[0], embeds[1]) > 0.1


def test_rule_salt_and_repeatability(tmp_path):
    for name, salt in (("a", ""), ("b", ""), ("c", "other")):
        write_text_encoder(tmp_path / name, width=16, heads=2, layers=1, salt=salt)
    a, b, c = (load_file(tmp_path / name / "model.safetensors") for name in "abc")
    key = "text_projection.weight"
    assert (a[key] == b[key]).all() and not (a[key] == c[key]).any()


def test_rule_refuses_impossible_sizes(tmp_path):
    with pytest.raises(ValueError, match="heads"):
        write_text_encoder(tmp_path, width=10, heads=4)
    with pytest.raises(ValueError, match="patch_size"):
        write_image_encoder(tmp_path, image_size=30, patch_size=8)
