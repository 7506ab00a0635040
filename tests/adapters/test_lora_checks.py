"""What a LoRA's file says is checked before it is merged: tensors, notes, config, strength."""

import json

import convert_lora
import numpy as np
import pytest
from checkpoints import CONFIGS, edit, metadata
from safetensors.numpy import load_file, save_file
from test_lora_files import random_lora

from ldm.adapters.files import (
    EMBEDDINGS,
    INDICES,
    LoraFile,
    change_weights,
    merge_into,
    read_lora,
    write_lora,
)
from ldm.adapters.lora import LoRA
from ldm.clip.encoders import TextEncoder
from ldm.weights.release import load_network


def put(key, value):
    return lambda tensors: tensors.update({key: value})


TOKENS = {EMBEDDINGS: np.ones((2, 12), "f4"), INDICES: np.array([5, 700])}
UP = np.ones((16, 3), "f4")  # of the first layer, an output projection
WRONG = {
    "NaN": (put("weights.0.lora_up", UP * np.nan), "weights.0.lora_up holds NaN or infinity"),
    "infinity": (put("weights.0.lora_up", UP * np.inf), "weights.0.lora_up holds NaN or infinity"),
    "integers": (put("weights.0.lora_up", UP.astype("i8")), r"weights.0.lora_up \(I64\)"),
    "bytes": (put("weights.0.lora_up", UP.astype("i1")), r"weights.0.lora_up \(I8\)"),
    "rank 0": (lambda t: [t.update({k: v[:0] if "down" in k else v[:, :0]}) for k, v in t.items()], "misshapen"),
    "another rank": (put("weights.0.lora_up", UP[:, :2]), "misshapen"),
    "a rank beyond all": (
        lambda t: t.update({"weights.0.lora_down": np.ones((2000, 16), "f4"), "weights.0.lora_up": np.ones((16, 2000), "f4")}),
        r"expected \(1024, 16\)",
    ),
    "a scalar": (put("weights.0.lora_up", np.ones((), "f4")), "misshapen"),
    "a gap": (lambda t: [t.pop(k) for k in ("weights.0.lora_up", "weights.0.lora_down")], "2 missing: weights.0.lora_down"),
    "a huge position": (put("weights.99999999999999999999.lora_up", UP), "unexpected: weights.99999999999999999999"),
    "digits of another script": (put("weights.\u0663.lora_up", UP), "unexpected: weights.\u0663"),
    "tokens of no index": (put(EMBEDDINGS, TOKENS[EMBEDDINGS]), "missing: embeddings.indices"),
    "float indices": (lambda t: t.update({**TOKENS, INDICES: np.array([5.0, 7.0], "f4")}), "indices are F32"),
    "negative indices": (lambda t: t.update({**TOKENS, INDICES: np.array([-1, 7])}), "span -1 to 7"),
    "huge indices": (lambda t: t.update({**TOKENS, INDICES: np.array([5, 2**62])}), "span 5 to 4611686018427387904"),
    "an index twice": (lambda t: t.update({**TOKENS, INDICES: np.array([5, 5])}), "1 of 2 different"),
    "more indices than rows": (lambda t: t.update({**TOKENS, INDICES: np.array([5, 6, 7])}), "misshapen"),
    "tokens of NaN": (lambda t: t.update({**TOKENS, EMBEDDINGS: TOKENS[EMBEDDINGS] * np.nan}), "embeddings.embeddings holds NaN"),
    "tokens of integers": (lambda t: t.update({**TOKENS, EMBEDDINGS: np.ones((2, 12), "i8")}), r"embeddings \(I64\)"),
    "tokens too wide": (lambda t: t.update({**TOKENS, EMBEDDINGS: np.ones((2, 10_000), "f4")}), r"expected \(2, 8192\)"),
    "a third tensor of tokens": (lambda t: t.update({**TOKENS, "embeddings.more": UP}), "unexpected: embeddings.more"),
}  # fmt: skip


@pytest.mark.parametrize("change, message", WRONG.values(), ids=WRONG)
def test_wrong_tensors_are_named(network, tmp_path, change, message):
    path = tmp_path / "lora.safetensors"
    write_lora(path, random_lora(network, (".attn",)), network, filters=(".attn",))
    edit(path, change)
    with pytest.raises(ValueError, match=message) as error:
        read_lora(path, network)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("filters", "[", "is not JSON"),
        ("filters", '{"a": 1}', "holds a dict"),
        ("filters", "[1]", "must be a list of texts"),
        ("filters", "[" * 60_000, "nested too deeply"),
        ("filters", "x" * 70_000, "has 70000 characters"),
        ("filters", '["nothing"]', "filters nothing match no Linear"),
        ("filters", '["a\\u001b[31m"]', "must be a list of texts"),
        ("filters", "[]", "match no Linear"),
        ("tokens", '["[x]:("]', "'tokens': .*is not a regular expression"),
        ("tokens", '["[x]"]', "'tokens': .*a new token needs a start"),
        ("tokens", '["[x]:((a+)+)+$"]', "'tokens': .*repeats what repeats"),
        ("tokens", '["^fox"]', "holds no learned tokens"),
    ],
)
def test_wrong_notes_are_named(network, tmp_path, name, value, message):
    path = tmp_path / "lora.safetensors"
    write_lora(path, random_lora(network, (".attn",)), network, filters=(".attn",))
    save_file(load_file(path), path, metadata={**metadata(path), name: value})
    with pytest.raises(ValueError, match=message) as error:
        read_lora(path, network)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "changes, message", [({"c_hidden": [10**9] * 2}, "c_hidden is"), ({"nhead": [3, 3]}, "does not divide")]
)
def test_a_wrong_config_is_named(network, tmp_path, capsys, changes, message):
    path = tmp_path / "lora.safetensors"
    lora = random_lora(network, (".attn",))
    notes = {"config": json.dumps({**CONFIGS["stage_c"], **changes})}
    write_lora(path, LoraFile(lora.updates, None, notes), network)
    assert (
        convert_lora.main(["--lora", str(path), "--layout", "named", "--output", str(tmp_path / "out.safetensors")])
        == 2
    )
    err = capsys.readouterr().err
    assert f"{path}: the metadata's 'config'" in err and message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("scale", [float("nan"), float("inf")])
def test_a_non_finite_strength_merges_nothing(network, prior, tmp_path, capsys, scale):
    lora = random_lora(network, (".attn",))
    with pytest.raises(ValueError, match="a finite number, got"):
        merge_into(load_network(prior, "stage_c"), lora.updates, scale)
    with pytest.raises(ValueError, match="a finite number, got"):
        change_weights(lora.updates, scale)
    path, target = tmp_path / "lora.safetensors", tmp_path / "merged.safetensors"
    write_lora(path, lora, network, filters=(".attn",))
    target.write_bytes(b"the good one")
    flags = ["--lora", str(path), "--merge_into", str(prior), "--output", str(target), "--scale", str(scale)]
    assert convert_lora.main(flags) == 2 and target.read_bytes() == b"the good one"
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_merge_beyond_what_a_dtype_holds(network, prior, tmp_path, capsys):
    lora, path = random_lora(network, (".attn",)), tmp_path / "lora.safetensors"
    with pytest.raises(ValueError, match="attn.* larger than float32 can hold: use a smaller scale than 3e"):
        merge_into(load_network(prior, "stage_c"), lora.updates, 3e38)
    write_lora(path, random_lora(network, (".attn",), alpha=1000.0), network, filters=(".attn",))
    flags = ["--lora", str(path), "--merge_into", str(prior), "--output", str(tmp_path / "merged.safetensors")]
    assert convert_lora.main([*flags, "--scale", "1000", "--dtype", "float16"]) == 2
    err = capsys.readouterr().err
    assert "weight reaches" in err and "float16 ends at 65504" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 0, -1])
def test_an_invalid_alpha(network, alpha):
    with pytest.raises(ValueError, match="a finite alpha > 0"):
        LoRA(network, rank=2, alpha=alpha)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_non_finite_stored_alpha(network, tmp_path, bad):
    path = tmp_path / "lora.safetensors"
    write_lora(path, random_lora(network, (".attn",)), network, "named", (".attn",))
    tensors = load_file(path)
    key = next(key for key in tensors if key.endswith(".alpha"))
    save_file({**tensors, key: np.asarray(bad, "f4")}, path, metadata=metadata(path))
    with pytest.raises(ValueError, match=f"{key} holds NaN or infinity"):
        read_lora(path, network)
    save_file({**tensors, key: np.asarray(2)}, path, metadata=metadata(path))  # some tools store an integer
    assert read_lora(path, network).updates


@pytest.fixture(scope="module")
def text(rule_release):
    return lambda: TextEncoder.from_folder(rule_release / "text_encoder", rule_release / "tokenizer")


@pytest.mark.parametrize(
    "indices, embeddings, scale",
    [([-1], 0.0, 1.0), ([5], np.nan, 1.0), ([5], 0.0, np.nan), ([10**6], 0.0, 1.0), ([5, -(2**62)], 0.0, 1.0)],
)
def test_tokens_that_cannot_be_merged_leave_the_tower_alone(text, indices, embeddings, scale):
    encoder = text()
    weight = encoder.model.get_input_embeddings().weight
    before = weight.numpy().copy()
    with pytest.raises(ValueError, match="[Ll]earned tokens"):
        encoder.merge_tokens(np.array(indices), np.full((len(indices), encoder.width), embeddings, "f4"), (), scale)
    np.testing.assert_array_equal(weight.numpy(), before)
