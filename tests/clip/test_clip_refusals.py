"""ldm.clip.folder: what is refused while loading, and how it is said."""

import numpy as np
import pytest
from clip_files import TEXT, VISION, edit_json, edit_weights

from ldm.clip.encoders import ImageEncoder, TextEncoder


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_refuses_dtypes(tokenizer_dir, dtype):
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
    with pytest.raises(ValueError, match=f"{name} is not JSON"):
        TextEncoder.from_folder(text_dir, own_tokenizer_dir)


@pytest.mark.parametrize("kept", [0, 5, 1000, 300_000])
def test_cut_weights(text_dir, tokenizer_dir, kept):
    path = text_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match="model.safetensors.*download"):
        TextEncoder.from_folder(text_dir, tokenizer_dir)


@pytest.mark.parametrize("name", ["model_state.pdparams", "pytorch_model.bin"])
def test_pickles_are_not_read(text_dir, tokenizer_dir, name):
    (text_dir / "model.safetensors").rename(text_dir / name)
    with pytest.raises(FileNotFoundError, match=f"no model.safetensors.*{name}.*safe_serialization.*WEIGHTS_PATH"):
        TextEncoder.from_folder(text_dir, tokenizer_dir)


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
        "1 misshapen: text_model.encoder.layers.1.mlp.fc1.weight (64, 256), expected (256, 64)",
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
