"""What is trained of a prior: tokens and parts by pattern; flags and entries that are refused."""

import json

import numpy as np
import paddle
import pytest
from lora_runs import TOKENS, base, flags, run

from ldm.frozen import Frozen
from ldm.training.checkpoints.files import read_networks
from ldm.training.flags.arguments import parse_into
from ldm.training.task import NetworkEntry
from ldm.training.tasks import prior
from ldm.weights.release import Release


def test_new_tokens_start_as_a_mean_and_the_files_stay(rule_release):
    text = Frozen(Release(rule_release)).text
    before = {path: path.read_bytes() for path in (rule_release / "tokenizer").iterdir()}
    weight, vocabulary = text.model.get_input_embeddings().weight.numpy(), text.tokenizer.get_vocab()
    learned = text.learn_tokens(["[fox]:^f</w>|^o</w>", "^a</w>$"])
    expected = weight[[vocabulary["f</w>"], vocabulary["o</w>"]]].mean(axis=0)
    assert learned.indices.tolist() == [vocabulary["a</w>"], len(weight)]
    assert np.allclose(text.model.get_input_embeddings().weight.numpy()[-1], expected, atol=1e-7)
    ids, _ = text.tokenize(["a [fox] in the snow"])
    assert (ids[0] == len(weight)).sum() == 1
    assert before == {path: path.read_bytes() for path in (rule_release / "tokenizer").iterdir()}


def test_parts_are_frozen_by_pattern(rule_release, scenes, tmp_path):
    run(rule_release, scenes, tmp_path, "--max_steps 2 --train_only .attn clf --freeze *.bias --learning_rate 1e-2")
    state = paddle.load(str(tmp_path / "model_state.pdparams"))
    for key, value in base(rule_release).state_dict().items():
        trained = (".attn" in key or "clf" in key) and not key.endswith(".bias")
        assert np.array_equal(value.numpy(), np.asarray(state[f"unet.{key}"])) != trained, key


@pytest.mark.parametrize(
    "more, lists, message",
    [
        ("--method lore", [], "--method must be one of"),
        ("--lora_rank 8", [], "--lora_rank is for --method lora"),
        ("--method lora --lora_rank 0", [], "lora_rank must be at least 1"),
        ("--method lora --lora_dropout 1", [], "--lora_dropout must be"),
        ("--method lora --freeze clf", [], "--freeze is for --method full"),
        ("--method tokens", [], "--method tokens needs --learn_tokens"),
        ("--feature_cache x", TOKENS, "leave one out"),
        ("", ["--learn_tokens", "[fox]"], r"needs a start"),
        ("", ["--learn_tokens", "[Fox]:x"], "lower-case"),
        ("", ["--learn_tokens", "[fox]:("], "not a regular expression"),
    ],
)
def test_refused_options(rule_release, scenes, tmp_path, more, lists, message):
    with pytest.raises(ValueError, match=message):
        parse_into(prior.GROUPS, flags(rule_release, scenes, tmp_path, more, lists))


@pytest.mark.parametrize(
    "more, lists, message",
    [
        ("--method lora --lora_filter nothing", [], "nothing match no Linear"),
        ("--train_only nothing", [], "--train_only nothing: matches none"),
        ("--freeze .", [], "nothing to train"),
        ("", ["--learn_tokens", "zzz"], "finds none of the 514 tokens"),
        ("", ["--learn_tokens", "[a]:x", "[a]:y"], r"\[a\] exists already"),
    ],
)
def test_what_finds_nothing_is_refused(rule_release, scenes, tmp_path, more, lists, message):
    groups = parse_into(prior.GROUPS, flags(rule_release, scenes, tmp_path, more, lists))
    with pytest.raises(ValueError, match=message):
        prior.build_task(*groups)


ENTRY = {
    "filters": [".attn"],
    "tokens": [],
    "indices": [],
    "alpha": 1.0,
    "network": {},
    "base": "x",
    "base_fingerprint": "y",
}


@pytest.mark.parametrize(
    "name, value",
    [
        *(("filters", value) for value in (None, ".attn", [1], {})),
        *(("tokens", value) for value in (None, "x", [None])),
        *(("indices", value) for value in (None, [1.5], [-1], [True], [2**63], 3)),
        *(("alpha", value) for value in (None, "1", True, 0, -1, float("nan"), float("inf"))),
        *((name, value) for name in ("network", "base", "base_fingerprint") for value in (None, 1, [])),
        *(("base", "a\0b"), ("base_fingerprints_rounded", 1)),
    ],
)
def test_entries_that_no_adapter_is_made_of(tmp_path, name, value):
    path = tmp_path / "networks.json"
    entry = {"kind": "lora", "config": dict(ENTRY)}
    path.write_text(json.dumps({"lora": entry}))
    assert read_networks(path)["lora"].config == ENTRY
    for entry["config"] in ({**ENTRY, name: value}, {key: ENTRY[key] for key in ENTRY if key != name}):
        if entry["config"] != ENTRY:
            path.write_text(json.dumps({"lora": entry}))
            with pytest.raises(ValueError, match=rf"networks.json: the LoRA's '{name}' is .*: take another"):
                read_networks(path)


def test_entries_are_saved_without_their_functions(tmp_path):
    from ldm.training.checkpoints.files import save_networks

    called = []
    save_networks(tmp_path, {"lora": NetworkEntry("lora", {"a": 1}, {}, called.append)})
    assert called == [tmp_path]
    assert json.loads((tmp_path / "networks.json").read_text()) == {
        "lora": {"kind": "lora", "config": {"a": 1}, "notes": {}}
    }
