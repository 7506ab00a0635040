"""ldm.clip.pair: the loss by hand, what is trained, and learning to match scenes with their captions."""

import json

import numpy as np
import paddle
import pytest
from clip_files import edit_json
from helpers import distance

from ldm.clip.encoders import ImageEncoder, TextEncoder
from ldm.clip.pair import ClipPair, retrieval
from ldm.clip.tokenizer import load_tokenizer, write_tokenizer
from ldm.clip.tower import new_image_tower, new_text_tower, write_tower
from ldm.demo.rule_clip import write_tokenizer as write_byte_tokenizer
from ldm.demo.scenes.dataset import SceneSettings, make_example
from ldm.demo.scenes.render import render

SIZES = dict(hidden_size=48, intermediate_size=96, projection_dim=32, num_hidden_layers=1, num_attention_heads=2)
BYTES = dict(vocab_size=514, bos_token_id=512, eos_token_id=513, pad_token_id=513)
TEXT = {**SIZES, **BYTES, "max_position_embeddings": 40, "hidden_act": "gelu"}
IMAGE = {**SIZES, "hidden_act": "gelu", "num_channels": 3, "image_size": 32, "patch_size": 8}


def new_pair(**fields):
    return ClipPair(new_text_tower({**TEXT, **fields}), new_image_tower(IMAGE))


@pytest.fixture
def pair():
    return new_pair()


@pytest.fixture
def batch():
    """Five pairs as tensors; the captions of the first and the fourth are the same."""
    rng = np.random.default_rng(0)
    ids = np.full((5, 8), 513)
    ids[:, 0] = 512
    ids[:, 1:4] = rng.integers(0, 512, (5, 3))
    ids[3] = ids[0]
    mask = np.tile([1, 1, 1, 1, 1, 0, 0, 0], (5, 1))
    return tuple(paddle.to_tensor(x) for x in (ids, mask, rng.random((5, 3, 32, 32), "float32")))


def loss_by_hand(text, image, scale, same):
    """Symmetric InfoNCE in float64, pair by pair, over the negatives that are not the same caption."""
    losses = []
    for i in range(len(text)):
        allowed = [j for j in range(len(text)) if j == i or not same[i, j]]
        for logits in (scale * image[allowed] @ text[i], scale * text[allowed] @ image[i]):
            losses.append(np.log(np.exp(logits).sum()) - logits[allowed.index(i)])
    return np.mean(losses)


def test_loss_by_hand(pair, batch):
    ids, mask, pixels = batch
    text, image = (x.numpy().astype("float64") for x in (pair.embed_text(ids, mask), pair.embed_images(pixels)))
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([text, image]), axis=1), 1, rtol=1e-5)
    same = np.eye(5, dtype=bool)
    expected_all = loss_by_hand(text, image, 1 / 0.07, same)
    same[0, 3] = same[3, 0] = True
    expected = loss_by_hand(text, image, 1 / 0.07, same)
    loss = pair(ids, mask, pixels)
    assert loss.shape == [] and loss.dtype == paddle.float32
    assert abs(float(loss) - expected) < 1e-4 < abs(expected - expected_all)  # float32 logits of about 14


def test_embeddings_are_those_the_release_would_give(pair, batch, tmp_path):
    """What is trained is what `ldm.clip.encoders` computes later: pooled at the end token, images normalised alike."""
    ids, mask, pixels = batch
    write_byte_tokenizer(tmp_path / "tokenizer")
    text = TextEncoder(pair.text, load_tokenizer(tmp_path / "tokenizer"))(ids, mask)[1][:, 0].numpy()
    image = ImageEncoder(pair.image)(pixels)[:, 0].numpy()
    for trained, used in ((pair.embed_text(ids, mask), text), (pair.embed_images(pixels), image)):
        assert distance(trained, used / np.linalg.norm(used, axis=1, keepdims=True)) < 1e-5


def test_every_parameter_is_trained(pair, batch):
    pair(*batch).backward()
    idle = [n for n, p in pair.named_parameters() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    # Softmax over keys does not see what is added to all of them alike: its gradient is rounding, or none at all.
    assert [name for name in idle if not name.endswith("k_proj.bias")] == []
    assert pair.logit_scale.grad is not None and len(list(pair.parameters())) > 30


def test_temperature_is_bounded_and_can_come_back(pair, batch):
    pair.logit_scale.set_value(paddle.to_tensor(9.0))
    bounded = pair(*batch)
    assert abs(float(pair.logit_scale.exp()) - 100) < 1e-3
    bounded.backward()
    assert float(pair.logit_scale.grad) != 0
    pair.logit_scale.set_value(paddle.to_tensor(3.0))
    pair(*batch)
    assert float(pair.logit_scale) == 3


@pytest.fixture
def release(pair, tmp_path):
    write_byte_tokenizer(tmp_path / "tokenizer")
    write_tower(tmp_path / "text_encoder", "text", TEXT, pair.text.state_dict())
    write_tower(tmp_path / "image_encoder", "image", IMAGE, pair.image.state_dict())
    return tmp_path


def test_from_folder_is_trainable(pair, release, batch):
    loaded = ClipPair.from_folder(release)
    assert float(loaded(*batch)) == float(pair(*batch))
    assert not any(parameter.stop_gradient for parameter in loaded.parameters())
    assert all(layer.training for layer in loaded.sublayers(include_self=True))
    before = [parameter.numpy() for parameter in loaded.parameters()]
    loaded(*batch).backward()
    paddle.optimizer.AdamW(1e-3, parameters=loaded.parameters()).step()
    assert all((old != new.numpy()).any() for old, new in zip(before, loaded.parameters()))


def test_from_folder_by_other_names(release, batch):
    for name in ("text_encoder", "image_encoder", "tokenizer"):
        (release / name).rename(release / f"my_{name}")
    pair = ClipPair.from_folder(release, "my_text_encoder", "my_image_encoder", "my_tokenizer")
    assert np.isfinite(float(pair(*batch)))
    with pytest.raises(FileNotFoundError, match="tokenizer"):
        ClipPair.from_folder(release)


def test_from_folder_pools_at_the_tokenizers_end(release, batch):
    assert json.loads((release / "text_encoder" / "config.json").read_text())["eos_token_id"] == 513
    edit_json(release / "text_encoder" / "config.json", eos_token_id=2)
    assert ClipPair.from_folder(release).text.config.eos_token_id == 513


def test_refusals(pair, batch):
    ids, mask, pixels = batch
    with pytest.raises(ValueError, match="16 dimensions.*32.*projection_dim"):
        new_pair(projection_dim=16)
    with pytest.raises(ValueError, match=r"\(B, 3, 32, 32\)"):
        pair(ids, mask, pixels[:, :, :16])
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        pair(ids, mask, (pixels * 255).astype("uint8"))


def test_retrieval():
    image = np.eye(4)
    text = np.array([[5, 0, 0, 0], [0, 1, 0, 0], [0.9, 0, 1, 0], [1, 0, 0, 0.5]])  # the last prefers the first image
    assert retrieval(text, image) == (0.75, 1.0)
    assert retrieval(image, paddle.to_tensor(text, "float32")) == (1.0, 0.75)
    assert retrieval(np.ones((8, 3)), np.ones((8, 3))) == (1 / 8, 1 / 8)  # all alike: chance, not success
    for wrong in (np.ones((3, 4)), np.ones((4, 3)), np.ones(4)):
        with pytest.raises(ValueError, match="no pairs"):
            retrieval(np.ones((4, 4)), wrong)


def test_learns_to_match_scenes_with_captions(tmp_path):
    held, trained, steps, at_once = 64, 512, 90, 64
    settings = SceneSettings(count=held + trained)
    scenes, captions = zip(*(make_example(settings, index) for index in range(settings.count)))
    fields = write_tokenizer(tmp_path, captions, max_length=40, vocab_size=1024)
    pair = new_pair(**fields)
    tokens = TextEncoder(pair.text, load_tokenizer(tmp_path)).tokenize(list(captions))
    pixels = np.stack([render(scene, 32) for scene in scenes]).transpose(0, 3, 1, 2).astype("float32") / 255
    data = [paddle.to_tensor(x) for x in (*tokens, pixels)]

    def held_out():
        ids, mask, images = (x[:held] for x in data)
        with paddle.no_grad():
            return retrieval(pair.embed_text(ids, mask), pair.embed_images(images))

    chance = 1 / held
    assert max(held_out()) < 4 * chance
    optimizer = paddle.optimizer.AdamW(3e-3, parameters=pair.parameters())
    rng = np.random.default_rng(0)
    for _ in range(steps):
        chosen = paddle.to_tensor(held + rng.integers(0, trained, at_once))
        pair(*(x[chosen] for x in data)).backward()
        optimizer.step()
        optimizer.clear_grad()
    assert sum(held_out()) / 2 > 5 * chance  # 0.18 to 0.26 with four seeds
