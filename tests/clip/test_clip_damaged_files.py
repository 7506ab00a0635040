"""Files of CLIP folders that were damaged, or made to harm: each is named, in one line, before memory is taken."""

import json
import random
import shutil

import numpy as np
import pytest
from clip_files import edit_json, edit_weights
from helpers import ROOT

from ldm.clip.encoders import ImageEncoder, TextEncoder
from ldm.clip.folder import load_image_tower, load_text_tower
from ldm.clip.tokenizer import load_tokenizer

DEMO = ROOT / "assets" / "demo" / "tokenizer"  # with merges, unlike the rule-filled one


@pytest.fixture
def demo_tokenizer(tmp_path):
    return shutil.copytree(DEMO, tmp_path / "demo_tokenizer")


def one_line(error, path):
    message = str(error.value)
    assert str(path) in message and "\n" not in message and len(message) < 1500, message
    return message


TOKENIZERS = {
    "emptied merges": ("merges.txt", lambda text: "", "does not begin with #version"),
    "merges without their first line": ("merges.txt", lambda text: text.split("\n", 1)[1], "does not begin with #version"),
    "half the merges": ("merges.txt", lambda text: text[: text.rindex("\n", 0, len(text) // 2) + 1], "is not complete"),
    "cut within a line": ("merges.txt", lambda text: text[: text.rindex(" ")], "is no merge of two tokens"),
    "a line with three tokens": ("merges.txt", lambda text: text + "a b c\n", "is no merge of two tokens"),
    "a merge of unknown tokens": ("merges.txt", lambda text: text + "zebra fish\n", "line [0-9]+: 'zebra fish'"),
    "merges of another encoding": ("merges.txt", lambda text: text.encode("utf-16"), "is not UTF-8"),
    "a megabyte on one line": ("merges.txt", lambda text: text + "a" * 2**20, "is no merge of two tokens"),
    "merges too long": ("merges.txt", lambda text: text + "\n" * (17 << 20), "more than the"),
    "vocabulary of texts": ("vocab.json", lambda text: text.replace(": 5,", ': "5",'), r"\('.*', '5'\) is no id"),
    "vocabulary of true": ("vocab.json", lambda text: text.replace(": 1,", ": true,"), "is no id"),
    "an id twice": ("vocab.json", lambda text: text.replace(": 5,", ": 6,"), "do not count from 0"),
    "an id beyond all": ("vocab.json", lambda text: text.replace(": 5,", ": 999999999999999999999,"), "do not count"),
    "a token twice": ("vocab.json", lambda text: text.replace('"b": 65', '"a": 65'), "the key 'a' occurs twice"),
    "no vocabulary": ("vocab.json", lambda text: "{}", "tokens of single bytes are missing"),
    "a list": ("vocab.json", lambda text: "[]", "holds a list"),
    "nested": ("vocab.json", lambda text: '{"a": ' + "[" * 200_000, "nested too deeply"),
    "cut off": ("vocab.json", lambda text: text[:-20], "is not JSON"),
    "no special tokens": ("special_tokens_map.json", lambda text: text[:-20], "is not JSON"),
    "an unknown end token": ("special_tokens_map.json", lambda text: text.replace("endoftext", "end"), "no token of vocab"),
    "a number for a token": ("special_tokens_map.json", lambda text: '{"eos_token": 7}', "eos_token is 7"),
    "an object for a token": ("special_tokens_map.json", lambda text: '{"eos_token": {"a": 7}}', "eos_token is {'a': 7}"),
    "an invalid limit": ("tokenizer_config.json", lambda text: changed(text, model_max_length="many"), "'many'"),
    "a limit below a caption": ("tokenizer_config.json", lambda text: changed(text, model_max_length=2), "is 2"),
    "a limit of NaN": ("tokenizer_config.json", lambda text: changed(text, model_max_length=float("nan")), "is nan"),
    "a limit of infinity": ("tokenizer_config.json", lambda text: changed(text, model_max_length=float("inf")), "is inf"),
    "another way to decode": ("tokenizer_config.json", lambda text: changed(text, errors="x"), "errors is 'x'"),
    "an invalid class": ("tokenizer_config.json", lambda text: changed(text, tokenizer_class={}), "tokenizer_class"),
    "files elsewhere": ("tokenizer_config.json", lambda text: changed(text, vocab_file="/etc/passwd"), "vocab_file"),
    "code": ("tokenizer_config.json", lambda text: changed(text, auto_map={"x": "y.z"}), "auto_map"),
    "tokens beside the vocabulary": ("added_tokens.json", lambda text: '{"[x]": 9}', "is not in vocab.json"),
    "nested tokens": ("added_tokens.json", lambda text: '{"[x]": []}', "added_tokens.json"),
}  # fmt: skip


def changed(text, **changes):
    return json.dumps({**json.loads(text), **changes})


@pytest.mark.parametrize("name, change, message", TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_damaged_tokenizer_is_named(demo_tokenizer, name, change, message):
    path = demo_tokenizer / name
    content = change(path.read_text(encoding="utf-8") if path.exists() else "")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        load_tokenizer(demo_tokenizer)
    one_line(error, path)


def test_the_demos_tokenizer_is_whole(demo_tokenizer):
    (demo_tokenizer / "special_tokens_map.json").unlink()  # older folders have none
    assert (
        load_tokenizer(demo_tokenizer)("a red house")["input_ids"] == load_tokenizer(DEMO)("a red house")["input_ids"]
    )


CONFIGS = [
    {"hidden_size": 10**9},
    {"hidden_size": True},
    {"hidden_size": 64.0},
    {"hidden_size": "64"},
    {"hidden_size": -64},
    {"hidden_size": 32768},  # what the weights beside it are not
    {"intermediate_size": 10**6},
    {"num_hidden_layers": 10**6},
    {"num_hidden_layers": 1000},
    {"num_attention_heads": 0},
    {"num_attention_heads": 7},
    {"vocab_size": 10**6},
    {"vocab_size": [1]},
    {"max_position_embeddings": 10**6},
    {"projection_dim": 10**6},
    {"attention_dropout": "x"},
    {"attention_dropout": float("nan")},
    {"attention_dropout": 1},
    {"hidden_act": ["gelu"]},
    {"hidden_act": "x" * 10**5},
    {"layer_norm_eps": "x"},
    {"layer_norm_eps": float("nan")},
    {"eos_token_id": "x"},
    {"eos_token_id": -1},
    {"pad_token_id": 10**9},
    {"model_type": ["clip"]},
    {"model_type": "clip", "text_config": [1]},
    {"model_type": "clip", "text_config": "abc"},
    {"model_type": "x" * 10**5},
]


@pytest.mark.parametrize("changes", CONFIGS, ids=lambda changes: str(changes)[:40])
def test_a_wrong_text_config_is_named(text_dir, tokenizer_dir, changes):
    edit_json(text_dir / "config.json", **changes)
    with pytest.raises(ValueError) as error:
        TextEncoder.from_folder(text_dir, tokenizer_dir)
    one_line(error, text_dir)


@pytest.mark.parametrize(
    "changes",
    [{"image_size": 10**6}, {"patch_size": 0}, {"patch_size": 512}, {"num_channels": 10**5}, {"image_size": None, "patch_size": 300}],
    ids=str,
)  # fmt: skip
def test_a_wrong_image_config_is_named(tmp_path, changes):
    from clip_files import VISION

    folder = shutil.copytree(VISION, tmp_path / "image_encoder")
    edit_json(folder / "config.json", **changes)
    with pytest.raises(ValueError) as error:
        ImageEncoder.from_folder(folder)
    one_line(error, folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": 1, "a": 2}', b"[" * 200_000, b"3"])
def test_a_config_that_is_none_is_named(text_dir, content):
    (text_dir / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match="config.json") as error:
        load_text_tower(text_dir)
    one_line(error, text_dir / "config.json")


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_integers_are_no_weights(text_dir, dtype):
    edit_weights(text_dir, lambda tensors: tensors.update({"text_projection.weight": np.zeros((32, 64), dtype)}))
    with pytest.raises(ValueError, match=r"tensors of a type.*text_projection.weight \(") as error:
        load_text_tower(text_dir)
    one_line(error, text_dir / "model.safetensors")


@pytest.mark.parametrize(
    "index", [[], {"weight_map": {}}, {"weight_map": ["a"]}, {"weight_map": {"a": 1}}, {"weight_map": {"a": ["b"]}},
              {"weight_map": {"a": "../x"}}, {"weight_map": {"a": "/etc/passwd"}}, {"weight_map": {"a": ""}}], ids=str,
)  # fmt: skip
def test_a_damaged_index_is_named(text_dir, index):
    (text_dir / "model.safetensors").unlink()
    (text_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="index.json") as error:
        load_text_tower(text_dir)
    one_line(error, text_dir)


def test_a_tensor_in_two_shards_is_refused(text_dir):
    shutil.copy(text_dir / "model.safetensors", text_dir / "other.safetensors")
    (text_dir / "model.safetensors").rename(text_dir / "one.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "other.safetensors"}}
    (text_dir / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="other.safetensors and .*one.safetensors both have"):
        load_text_tower(text_dir)


def test_random_damage_is_one_line(tmp_path):
    """JSON of a tower with any value of another kind: loaded or refused, never anything else."""
    from clip_files import VISION

    folder, generator = shutil.copytree(VISION, tmp_path / "image_encoder"), random.Random(0)
    original = json.loads((folder / "config.json").read_text())
    others = [None, True, -1, 0, 3, 10**9, 10**30, 0.5, float("nan"), "", "gelu", "x" * 10**4, [], [1], {}, {"a": 1}]
    refused = 0
    for _ in range(150):
        content = {**original, **{generator.choice(list(original)): generator.choice(others) for _ in range(2)}}
        (folder / "config.json").write_text(json.dumps(content))
        try:
            load_image_tower(folder)
        except ValueError as error:
            refused += 1
            assert str(folder) in str(error) and "\n" not in str(error) and len(str(error)) < 1500
    assert refused > 60
