"""ldm.clip.encoders: parity with recorded outputs, masks, autocast, the tokenizer."""

import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest
from clip_files import TEXT, VISION, edit_json, same
from helpers import REFERENCE, distance
from safetensors.numpy import load_file

from ldm.clip.encoders import MEAN, STD, ImageEncoder, TextEncoder
from ldm.clip.files import write_tokenizer_files

PARITY = 1e-5  # relative; float32 kernels that sum in another order differ by less than 1e-6 here


def test_text_parity(text):
    recorded = load_file(REFERENCE / "clip_text_io.safetensors")
    text_embeds, pooled = text(recorded["in.input_ids"], recorded["in.attention_mask"])
    assert text_embeds.shape == [3, 77, text.width] and pooled.shape == [3, 1, text.projection_dim]
    assert distance(text_embeds, recorded["out.hidden_states_last"]) <= PARITY
    assert distance(pooled[:, 0], recorded["out.text_embeds"]) <= PARITY


def test_a_token_does_not_see_later_ones(text):
    ids, mask = text.tokenize(["one two three"])
    changed = ids.copy()
    changed[0, 6] = 100
    before, after = (text(x, mask)[0].numpy()[0] for x in (ids, changed))
    np.testing.assert_array_equal(before[:6], after[:6])
    assert distance(after[6:14], before[6:14]) > 1e-3


def test_padding_is_masked(text):
    ids, mask = text.tokenize(["a cat"])
    padded = mask[0] == 0
    other = ids.copy()
    other[0, padded] = 7
    before, after = text(ids, mask), text(other, mask)
    np.testing.assert_array_equal(before[0].numpy()[0, ~padded], after[0].numpy()[0, ~padded])
    np.testing.assert_array_equal(before[1], after[1])
    # The tokens after the end do see what the mask lets them see.
    everything = text(ids, np.ones_like(mask))[0].numpy()[0]
    assert distance(everything[padded], before[0].numpy()[0, padded]) > 1e-3


def test_frozen_and_untouched_by_autocast_and_gradients(text):
    assert not text.model.training and all(p.stop_gradient for p in text.model.parameters())
    plain = text.encode(["a cat"])
    # (On a CPU Paddle ignores autocast, so only a GPU makes this a test of it.)
    with paddle.amp.auto_cast(level="O1", dtype="bfloat16"):
        cast = text.encode(["a cat"])
    assert same(plain, cast) and all(x.stop_gradient and x.dtype == paddle.float32 for x in cast)


@pytest.mark.parametrize("wrong", ["length", "shapes", "range", "no end"])
def test_refuses_tokens_of_another_model(text, wrong):
    ids, mask = text.tokenize(["a cat"])
    if wrong == "length":
        ids, mask = np.tile(ids, 2), np.tile(mask, 2)
    elif wrong == "shapes":
        mask = mask[:, :-1]
    elif wrong == "range":
        ids[0, 3] = text.vocab_size
    else:
        ids[ids == 513] = 5
    with pytest.raises(ValueError, match="input_ids"):
        text(ids, mask)


def test_tokenize(text):
    ids, mask = text.tokenize(["A Cat", ""])
    assert ids.shape == mask.shape == (2, 77) and ids.dtype == mask.dtype == np.int64
    # start, "a</w>", "c", "a", "t</w>", end; the padding is the end token here and is masked, the end token is not
    assert ids[0, :8].tolist() == [512, 64 + 256, 66, 64, 83 + 256, 513, 513, 513]
    assert mask[0].tolist() == [1] * 6 + [0] * 71
    assert ids[1].tolist() == [512] + [513] * 76 and mask[1].tolist() == [1, 1] + [0] * 75


def test_tokenize_cuts_and_keeps_the_end(text):
    for length in (3, 12, 77):
        ids, mask = text.tokenize(["x " * 200, "東京の猫、Ελληνικά, é 🐈"], max_length=length)
        assert ids.shape == (2, length) and (mask[0] == 1).all() and ids[0, 0] == 512 and ids[0, -1] == 513
        assert ids.max() <= 513 and (ids[1] == 513).any()


@pytest.mark.parametrize("length", [2, 0, -1, 78, 1000])
def test_tokenize_refuses_lengths(text, length):
    with pytest.raises(ValueError, match=f"max_length .* is {length}.*3 to 77"):
        text.tokenize(["a"], max_length=length)


@pytest.mark.parametrize("captions", ["a cat", [], ["a", None], [1.0]])
def test_tokenize_refuses_other_captions(text, captions):
    with pytest.raises(ValueError, match="list of strings"):
        text.tokenize(captions)


def test_pad_token_of_the_folder_is_used(text, own_tokenizer_dir):
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        edit_json(own_tokenizer_dir / name, pad_token="!")
    padded_with_bang = TextEncoder.from_folder(TEXT, own_tokenizer_dir)
    ids, mask = padded_with_bang.tokenize(["a cat"])
    assert ids[0].tolist() == [512, 320, 66, 64, 339, 513] + [0] * 71 and mask[0].sum() == 6
    np.testing.assert_array_equal(padded_with_bang.encode(["a cat"])[1], text.encode(["a cat"])[1])


def test_legacy_end_token_in_the_config(text, text_dir, tokenizer_dir):
    edit_json(text_dir / "config.json", eos_token_id=2)
    assert same(TextEncoder.from_folder(text_dir, tokenizer_dir).encode(["a cat"]), text.encode(["a cat"]))


def test_tokenizer_of_another_model_is_refused(text_dir, tokenizer_dir, own_tokenizer_dir):
    edit_json(text_dir / "config.json", eos_token_id=500)
    with pytest.raises(ValueError, match="token 513.*eos_token_id 500"):
        TextEncoder.from_folder(text_dir, tokenizer_dir)
    write_tokenizer_files(own_tokenizer_dir, [("a", "b")], 77)
    with pytest.raises(ValueError, match="up to 514.*514"):
        TextEncoder.from_folder(TEXT, own_tokenizer_dir)


def test_image_parity(image):
    recorded = load_file(REFERENCE / "clip_vision_io.safetensors")
    normalised = recorded["in.pixel_values"]
    out = image.embed_normalised(normalised)
    assert out.shape == [2, 1, image.projection_dim] and out.stop_gradient
    assert distance(out[:, 0], recorded["out.image_embeds"]) <= PARITY
    pixels = normalised * np.float32(STD).reshape(3, 1, 1) + np.float32(MEAN).reshape(3, 1, 1)
    assert distance(image(pixels)[:, 0], recorded["out.image_embeds"]) <= PARITY


def test_image_refuses_other_shapes_and_bytes(image):
    for shape in ([2, 3, 32, 31], [3, 32, 32], [1, 1, 32, 32]):
        with pytest.raises(ValueError, match=r"\(B, 3, 32, 32\)"):
            image(paddle.zeros(shape))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        image(np.zeros((1, 3, 32, 32), "uint8"))


def test_hidden_act_of_the_config_is_used(image, text, text_dir, tokenizer_dir, tmp_path):
    edit_json(text_dir / "config.json", hidden_act="quick_gelu")
    other = TextEncoder.from_folder(text_dir, tokenizer_dir)
    assert distance(other.encode(["a"])[1], text.encode(["a"])[1]) > 1e-3
    folder = Path(shutil.copytree(VISION, tmp_path / "image_encoder"))
    edit_json(folder / "config.json", hidden_act="gelu")
    pixels = paddle.full([1, 3, 32, 32], 0.5)
    assert distance(ImageEncoder.from_folder(folder)(pixels), image(pixels)) > 1e-3
