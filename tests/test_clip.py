"""ldm.clip and ldm.rule_clip: parity with recorded outputs, both weight layouts, the tokenizer, every refusal."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import load_file, save_file

from ldm.clip import MEAN, STD, ImageEncoder, TextEncoder
from ldm.rule_clip import write_image_encoder, write_text_encoder, write_tokenizer

REFERENCE = Path(__file__).parent / "reference"
TEXT, VISION = REFERENCE / "clip_text_tiny", REFERENCE / "clip_vision_tiny"
PARITY = 1e-5  # relative; float32 kernels that sum in another order differ by less than 1e-6 here


def distance(out, expected):
    out, expected = (np.asarray(x, "float64") for x in (out, expected))
    return np.linalg.norm(out - expected) / np.linalg.norm(expected)


def same(left, right):
    return all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(left, right))


def edit_json(path, **changes):
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def edit_weights(folder, change, **metadata):
    """Rewrite model.safetensors with `change` applied to its dictionary of arrays."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path, metadata=metadata or None)


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "tokenizer"
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def text(tokenizer_dir):
    return TextEncoder.from_folder(TEXT, tokenizer_dir)


@pytest.fixture(scope="module")
def image():
    return ImageEncoder.from_folder(VISION)


@pytest.fixture
def text_dir(tmp_path):
    return Path(shutil.copytree(TEXT, tmp_path / "text_encoder"))


@pytest.fixture
def own_tokenizer_dir(tokenizer_dir, tmp_path):
    return Path(shutil.copytree(tokenizer_dir, tmp_path / "tokenizer"))


# ---- the text tower


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


# ---- the tokenizer


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
    with pytest.raises(ValueError, match=f"max_length is {length}.*3 to 77"):
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
    vocabulary = json.loads((own_tokenizer_dir / "vocab.json").read_text())
    (own_tokenizer_dir / "vocab.json").write_text(json.dumps({**vocabulary, "more</w>": 600}))
    with pytest.raises(ValueError, match="up to 600.*514"):
        TextEncoder.from_folder(TEXT, own_tokenizer_dir)


# ---- the image tower


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


# ---- layouts and formats


@pytest.mark.parametrize("options", [{}, {"safe_serialization": True}])
@pytest.mark.parametrize("shard", [None, "200KB"])
def test_paddle_layout_round_trip(text, image, tokenizer_dir, tmp_path, options, shard):
    options = {**options, **({"max_shard_size": shard} if shard else {})}
    text.model.save_pretrained(str(tmp_path / "text"), **options)
    image.model.save_pretrained(str(tmp_path / "image"), **options)
    captions, pixels = ["a cat", "dogs"], paddle.rand([2, 3, 32, 32])
    assert same(TextEncoder.from_folder(tmp_path / "text", tokenizer_dir).encode(captions), text.encode(captions))
    np.testing.assert_array_equal(ImageEncoder.from_folder(tmp_path / "image")(pixels), image(pixels))


@pytest.mark.parametrize("metadata", [{}, {"format": "np"}, {"format": "pd"}])
def test_names_and_not_metadata_tell_the_layout(text, text_dir, tokenizer_dir, metadata):
    edit_weights(text_dir, lambda tensors: None, **metadata)
    assert same(TextEncoder.from_folder(text_dir, tokenizer_dir).encode(["a cat"]), text.encode(["a cat"]))


def test_half_precision_files_are_read_as_float32(text, text_dir, tokenizer_dir):
    edit_weights(text_dir, lambda tensors: tensors.update({k: v.astype("float16") for k, v in tensors.items()}))
    out = TextEncoder.from_folder(text_dir, tokenizer_dir).encode(["a cat"])
    assert all(x.dtype == paddle.float32 for x in out)
    assert distance(out[1], text.encode(["a cat"])[1]) < 5e-3  # 11 bits per weight


def test_bfloat16_files_are_read_as_float32(text, text_dir, tokenizer_dir):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    path = text_dir / "model.safetensors"
    tensors = {key: torch.from_numpy(value).bfloat16() for key, value in load_file(path).items()}
    path.unlink()
    save_torch(tensors, text_dir / "model.bf16.safetensors", metadata={"format": "pt"})  # the release's name for it
    from_torch = TextEncoder.from_folder(text_dir, tokenizer_dir)
    assert distance(from_torch.encode(["a cat"])[1], text.encode(["a cat"])[1]) < 5e-2  # 8 bits per weight
    for name, array in from_torch.model.state_dict().items():
        bits = array.numpy().view("uint32")
        assert (bits & 0xFFFF == 0).all(), name


@pytest.mark.parametrize("safe", [False, True])
def test_bfloat16_saved_by_paddlenlp(text, tokenizer_dir, tmp_path, safe):
    # PaddleNLP writes such tensors as 16-bit integers, of which the bits are a bfloat16.
    model = TextEncoder.from_folder(TEXT, tokenizer_dir).model.to(dtype="bfloat16")
    model.save_pretrained(str(tmp_path / "text"), safe_serialization=safe)
    out = TextEncoder.from_folder(tmp_path / "text", tokenizer_dir).encode(["a cat"])
    assert distance(out[1], text.encode(["a cat"])[1]) < 5e-2


def test_folder_of_the_whole_model(text, image, tokenizer_dir, tmp_path):
    tensors = {**load_file(TEXT / "model.safetensors"), **load_file(VISION / "model.safetensors")}
    tensors["logit_scale"] = np.full((), 4.6, "float32")
    tensors["text_model.embeddings.position_ids"] = np.arange(77)[None]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    text_config, vision_config = (json.loads((folder / "config.json").read_text()) for folder in (TEXT, VISION))
    config = {"model_type": "clip", "text_config": text_config, "vision_config": vision_config}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert same(TextEncoder.from_folder(tmp_path, tokenizer_dir).encode(["a"]), text.encode(["a"]))
    pixels = paddle.rand([1, 3, 32, 32])
    np.testing.assert_array_equal(ImageEncoder.from_folder(tmp_path)(pixels), image(pixels))


def test_loading_uses_no_network_and_writes_nothing(text_dir, own_tokenizer_dir, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    before = sorted(text_dir.parent.rglob("*"))
    TextEncoder.from_folder(text_dir, own_tokenizer_dir).encode(["a cat"])
    assert sorted(text_dir.parent.rglob("*")) == before


# ---- refusals while loading


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_refuses_dtypes(tokenizer_dir, dtype):
    if paddle.get_device() != "cpu" and dtype != "int8":
        pytest.skip("a GPU has these kernels")
    with pytest.raises(ValueError, match=dtype):
        TextEncoder.from_folder(TEXT, tokenizer_dir, dtype=dtype)
    with pytest.raises(ValueError, match=dtype):
        ImageEncoder.from_folder(VISION, dtype=dtype)


def test_missing_folders(tokenizer_dir, tmp_path):
    absent = tmp_path / "absent"
    for load in (
        lambda: TextEncoder.from_folder(absent, tokenizer_dir),
        lambda: TextEncoder.from_folder(TEXT, absent),
        lambda: ImageEncoder.from_folder(absent),
    ):
        with pytest.raises(FileNotFoundError, match="absent.*WEIGHTS_PATH"):
            load()


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_model_files(text_dir, tokenizer_dir, name):
    (text_dir / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"text_encoder.*{name}.*WEIGHTS_PATH"):
        TextEncoder.from_folder(text_dir, tokenizer_dir)


def test_missing_shard(text, tokenizer_dir, tmp_path):
    text.model.save_pretrained(str(tmp_path / "text"), safe_serialization=True, max_shard_size="200KB")
    shard = sorted((tmp_path / "text").glob("model-*"))[1]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        TextEncoder.from_folder(tmp_path / "text", tokenizer_dir)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "tokenizer_config.json"])
def test_missing_tokenizer_files(own_tokenizer_dir, name):
    (own_tokenizer_dir / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing.*WEIGHTS_PATH"):
        TextEncoder.from_folder(TEXT, own_tokenizer_dir)


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "tokenizer_config.json"])
def test_damaged_json(text_dir, own_tokenizer_dir, name):
    path = (text_dir if name == "config.json" else own_tokenizer_dir) / name
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=f"{name} is not valid JSON"):
        TextEncoder.from_folder(text_dir, own_tokenizer_dir)


@pytest.mark.parametrize("kept", [0, 5, 1000, 300_000])
def test_cut_weights(text_dir, tokenizer_dir, kept):
    path = text_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="model.safetensors.*download"):
        TextEncoder.from_folder(text_dir, tokenizer_dir)


def test_cut_paddle_weights(text, tokenizer_dir, tmp_path):
    text.model.save_pretrained(str(tmp_path / "text"))
    path = tmp_path / "text" / "model_state.pdparams"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="model_state.pdparams cannot be read"):
        TextEncoder.from_folder(tmp_path / "text", tokenizer_dir)


def test_all_wrong_tensors_are_named_at_once(text_dir, tokenizer_dir):
    def spoil(tensors):
        del tensors["text_projection.weight"], tensors["text_model.final_layer_norm.bias"]
        tensors["extra.weight"] = np.zeros(3, "float32")
        fc1 = "text_model.encoder.layers.1.mlp.fc1.weight"
        tensors[fc1] = tensors[fc1].T

    edit_weights(text_dir, spoil)
    with pytest.raises(ValueError) as error:
        TextEncoder.from_folder(text_dir, tokenizer_dir)
    message = str(error.value)
    for part in (
        str(text_dir),
        "2 missing: text_model.final_layer_norm.bias, text_projection.weight",
        "1 unexpected: extra.weight",
        "1 of another shape: text_model.encoder.layers.1.mlp.fc1.weight (64, 256) instead of (256, 64)",
    ):
        assert part in message


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": "gelu_new"},
        {"layer_norm_eps": 1e-6},
        {"num_attention_heads": 5},
        {"num_hidden_layers": [3, 4, 6, 3]},
        {"hidden_size": 0},
        {"model_type": "bert"},
    ],
)
def test_unsuitable_configs(text_dir, tokenizer_dir, changes):
    edit_json(text_dir / "config.json", **changes)
    with pytest.raises(ValueError, match="config.json"):
        TextEncoder.from_folder(text_dir, tokenizer_dir)


def test_swapped_folders(tokenizer_dir):
    with pytest.raises(ValueError, match="clip_vision_model"):
        TextEncoder.from_folder(VISION, tokenizer_dir)
    with pytest.raises(ValueError, match="clip_text_model"):
        ImageEncoder.from_folder(TEXT)


# ---- folders filled by the rule


def test_rule_reproduces_the_reference_weights(tmp_path):
    write_text_encoder(tmp_path / "text")
    write_image_encoder(tmp_path / "image")
    for written, reference in ((tmp_path / "text", TEXT), (tmp_path / "image", VISION)):
        ours, theirs = (load_file(folder / "model.safetensors") for folder in (written, reference))
        assert ours.keys() == theirs.keys() and all(np.array_equal(ours[key], theirs[key]) for key in theirs)
        ours, theirs = (json.loads((folder / "config.json").read_text()) for folder in (written, reference))
        assert {key: theirs[key] for key in ours} == ours


def test_rule_folders_load(tokenizer_dir, tmp_path):
    write_text_encoder(tmp_path / "text", width=32, projection_dim=16, layers=2, heads=2)
    encoder = TextEncoder.from_folder(tmp_path / "text", tokenizer_dir)
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
