"""Training a LoRA, learned tokens and parts of the prior: only they change, the loss falls, a resume is exact."""

import json
import shutil

import extract_unet_weights
import numpy as np
import paddle
import pytest
from helpers import distance, run_python

from ldm.adapters.files import read_lora
from ldm.adapters.lora import find_targets
from ldm.demo.scenes.dataset import SceneSettings, write_scenes
from ldm.frozen import Frozen
from ldm.model_c import ModelC
from ldm.training.checkpoints.export import export_networks
from ldm.training.checkpoints.files import read_networks
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer, train
from ldm.training.task import NetworkEntry
from ldm.training.tasks import prior
from ldm.weights.files import TensorFile
from ldm.weights.plan import WeightsMismatch
from ldm.weights.release import Release, build_unfilled, load_network, network_config, output_size

PRIOR = "stage_c_lite.safetensors"
LORA = "--method lora --lora_rank 2 --learning_rate 1e-2"
TOKENS = ["--learn_tokens", "[fox]:^f</w>|^o</w>", "^a</w>$"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, SceneSettings(8, 64), 1, iter)
    for path in folder.rglob("*.txt"):
        path.write_text(f"a [fox] {path.read_text()}")
    return folder


def flags(release, scenes, output, more="", lists=()):
    common = (
        f"--do_train --weights_path {release} --dataset_path {scenes} --output_dir {output} --resolution 64 "
        "--per_device_train_batch_size 4 --image_logging_steps 8 --num_inference_steps 1 --logging_steps 4 "
    )
    return [*(common + more).split(), *lists]


def run(release, scenes, output, more="", lists=()):
    groups = parse_into(prior.GROUPS, flags(release, scenes, output, more, lists))
    return train(prior.build_task, *groups)


@pytest.fixture(scope="module")
def trained(rule_release, scenes, tmp_path_factory):
    """A run that trained a LoRA and tokens, with an average, saved half-way."""
    output = tmp_path_factory.mktemp("lora") / "out"
    run(rule_release, scenes, output, f"{LORA} --max_steps 8 --save_steps 4 --ema_decay 0.9", TOKENS)
    return output


def extract(output, target, *more):
    assert extract_unet_weights.main(["--checkpoint_path", str(output), "--model_file", str(target), *more]) == 0
    return target


def base(rule_release):
    return load_network(rule_release / PRIOR, "stage_c")


def fixed_losses(output):
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["fixed_loss"] for entry in history if "fixed_loss" in entry]


def test_the_loss_falls_and_the_checkpoint_holds_the_adapter_alone(trained):
    losses = fixed_losses(trained)
    assert len(losses) == 2 and losses[1] < 0.98 * losses[0]
    state = paddle.load(str(trained / "model_state.pdparams"))
    keys = [key for key in state if key != "StructuredToParameterName@@"]
    assert keys and all(key.startswith("lora.") for key in keys)
    assert np.abs(np.asarray(state["lora.weights.0.lora_down"])).max() > 0
    assert np.abs(np.asarray(state["lora.embeddings.embeddings"])).max(axis=1).all()
    with TensorFile(trained / "ema.safetensors") as file:
        assert set(file.keys()) == set(keys)
    assert (trained / "checkpoint-4" / "lora.safetensors").is_file()


def test_the_prior_and_the_text_tower_stay_as_they_are(rule_release, scenes, tmp_path):
    trainer = build_trainer(
        prior.build_task,
        *parse_into(prior.GROUPS, flags(rule_release, scenes, tmp_path, f"{LORA} --max_steps 2", TOKENS)),
    )
    model = trainer.task.model
    text = {key: value.numpy().copy() for key, value in model.frozen.text.model.state_dict().items()}
    trainer.train()
    for key, value in base(rule_release).state_dict().items():
        assert np.array_equal(value.numpy(), model.unet.state_dict()[key].numpy()), key
    for key, value in model.frozen.text.model.state_dict().items():
        assert np.array_equal(value.numpy(), text[key]), key
    trained = {p.name for p in trainer.optimizer._parameter_list}
    assert trained == {p.name for p in model.lora.parameters()}


def test_extraction_merges_and_the_lora_file_says_the_same(rule_release, trained, tmp_path):
    merged = load_network(extract(trained, tmp_path / "merged.safetensors"), "stage_c").state_dict()
    assert output_size(tmp_path / "merged.safetensors") == 85
    plain = base(rule_release).state_dict()
    moved = {target.key for target in find_targets(base(rule_release))}
    for key in plain:
        assert (distance(merged[key], plain[key]) > 1e-6) == (key in moved), key
    for layout in ("positional", "named"):
        path = extract(trained, tmp_path / f"{layout}.safetensors", "--lora", layout)
        model = ModelC(rule_release)
        model.load_lora(path)
        for key, value in model.unet.state_dict().items():
            assert distance(value, merged[key]) < 1e-7, (layout, key)
    assert (trained / "lora.safetensors").read_bytes() == (tmp_path / "positional.safetensors").read_bytes()


def test_a_loaded_lora_samples_as_the_one_in_training(rule_release, scenes, tmp_path):
    """Attached in training and merged from its file: the same latents, learned tokens in the caption included."""
    trainer = build_trainer(
        prior.build_task,
        *parse_into(prior.GROUPS, flags(rule_release, scenes, tmp_path, f"{LORA} --max_steps 3", TOKENS)),
    )
    trainer.train()
    trainer.save_model()
    loaded = ModelC(rule_release)
    caption = ["a [fox]"]
    plain = loaded.frozen.text.encode(caption)[0]
    options = {"height": 256, "width": 256, "steps": 2, "progress": False}
    before = loaded.sample(["a box"], **options)
    loaded.load_lora(tmp_path / "lora.safetensors")
    ours = trainer.task.model.sample(caption, **options)
    assert distance(loaded.sample(caption, **options), ours) < 1e-5
    assert distance(loaded.frozen.text.encode(caption)[0], plain) > 1e-3
    loaded.unload_loras()
    assert np.array_equal(loaded.sample(["a box"], **options).numpy(), before.numpy())


def test_the_average_is_extracted_on_request(trained, tmp_path):
    last = extract(trained, tmp_path / "last.safetensors", "--lora")
    average = extract(trained, tmp_path / "average.safetensors", "--lora", "--save_ema")
    with TensorFile(last) as a, TensorFile(average) as b:
        assert a.shapes == b.shapes
        assert 0 < distance(b.read_numpy("weights.0.lora_down"), a.read_numpy("weights.0.lora_down")) < 1


def test_a_resumed_run_ends_bit_identical(rule_release, scenes, trained, tmp_path):
    """In processes of their own, as users run it: Paddle names parameters by a counter of the process."""
    argv = [
        *flags(rule_release, scenes, "{}", f"{LORA} --max_steps 8 --save_steps 4 --ema_decay 0.9 --lora_dropout 0.1"),
        *TOKENS,
    ]
    code = "import sys, json; from ldm.training.program import training_program\n"
    code += "sys.exit(training_program('t', 'prior', json.loads(sys.argv[1])))"
    for name in ("whole", "resumed"):
        if name == "resumed":
            shutil.copytree(tmp_path / "whole" / "checkpoint-4", tmp_path / "resumed" / "checkpoint-4")
        run_python(code, json.dumps([arg if arg != "{}" else str(tmp_path / name) for arg in argv]))
    for name in ("model_state.pdparams", "ema.safetensors", "lora.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes(), name


def test_a_checkpoint_of_another_rank_is_not_resumed_in_part(rule_release, scenes, trained, tmp_path):
    shutil.copytree(trained / "checkpoint-4", tmp_path / "out" / "checkpoint-4")
    with pytest.raises(WeightsMismatch, match="lora.weights.0.lora_down"):
        run(rule_release, scenes, tmp_path / "out", f"{LORA} --lora_rank 3 --max_steps 8", TOKENS)


@pytest.mark.parametrize(
    "more, lists, message",
    [
        (LORA, ["--learn_tokens", "[fox]:^f</w>|^o</w>", "^b</w>$"], "other tokens, indices"),
        (f"{LORA} --lora_alpha 2", TOKENS, "other alpha"),
        ("", [], "with a LoRA"),
    ],
)
def test_a_checkpoint_is_continued_as_what_it_is(rule_release, scenes, trained, tmp_path, more, lists, message):
    """The same shapes, another meaning."""
    shutil.copytree(trained / "checkpoint-4", tmp_path / "out" / "checkpoint-4")
    with pytest.raises(ValueError, match=message):
        run(rule_release, scenes, tmp_path / "out", f"{more} --max_steps 8", lists)


def test_a_checkpoint_of_another_prior_is_not_continued(rule_release, scenes, trained, tmp_path):
    shutil.copytree(trained / "checkpoint-4", tmp_path / "out" / "checkpoint-4")
    extract(trained, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="other base_fingerprint"):
        run(
            rule_release,
            scenes,
            tmp_path / "out",
            f"{LORA} --max_steps 8 --unet_path {tmp_path / 'other.safetensors'}",
            TOKENS,
        )


def test_another_base_is_refused_and_a_moved_one_can_be_named(rule_release, trained, tmp_path, capsys):
    moved = str(shutil.copy(rule_release / PRIOR, tmp_path / "moved.safetensors"))
    entries = json.loads((trained / "networks.json").read_text())
    copy = tmp_path / "checkpoint-8"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("checkpoint-*", "pictures", "runs"))
    entries["lora"]["config"]["base"] = "nowhere.safetensors"
    (copy / "networks.json").write_text(json.dumps(entries))
    call = ["--checkpoint_path", str(copy), "--model_file", str(tmp_path / "x.safetensors")]
    assert extract_unet_weights.main(call) == 2 and "--base" in capsys.readouterr().err
    assert extract_unet_weights.main([*call, "--base", moved]) == 0
    assert extract_unet_weights.main([*call, "--base", str(tmp_path / "x.safetensors")]) == 2
    assert "is not the prior that" in capsys.readouterr().err


def test_exporting_a_release_merges_and_keeps_the_tokens(trained, rule_release, tmp_path):
    written = export_networks(trained, tmp_path, "1B", "float32")
    assert [path.name for path in written] == [PRIOR, "learned_tokens.safetensors"]
    merged = load_network(extract(trained, tmp_path / "merged.safetensors"), "stage_c").state_dict()
    for key, value in Release(tmp_path).load("stage_c", "1B").state_dict().items():
        assert np.array_equal(value.numpy(), merged[key].numpy())
    tokens = read_lora(written[1], build_unfilled("stage_c", network_config(rule_release / PRIOR, "stage_c"))).tokens
    assert len(tokens.indices) == 2 and tokens.specs == tuple(TOKENS[1:])


def test_tokens_alone_and_tokens_beside_all_of_the_prior(rule_release, scenes, tmp_path, capsys):
    run(rule_release, scenes, tmp_path / "tokens", "--method tokens --max_steps 2 --learning_rate 1e-2", TOKENS)
    [key] = [k for k in paddle.load(str(tmp_path / "tokens" / "model_state.pdparams")) if "@@" not in k]
    assert key == "lora.embeddings.embeddings"
    extract(tmp_path / "tokens", tmp_path / "tokens.safetensors", "--lora")
    call = ["--checkpoint_path", str(tmp_path / "tokens"), "--model_file", str(tmp_path / "x.safetensors")]
    assert extract_unet_weights.main(call) == 2 and "only tokens were trained" in capsys.readouterr().err

    run(rule_release, scenes, tmp_path / "both", "--max_steps 2 --learning_rate 1e-3", TOKENS)
    extract(tmp_path / "both", tmp_path / "prior.safetensors")
    extract(tmp_path / "both", tmp_path / "both.safetensors", "--lora")
    changed = load_network(tmp_path / "prior.safetensors", "stage_c").state_dict()["clf.1.weight"]
    assert distance(changed, base(rule_release).state_dict()["clf.1.weight"]) > 1e-4
    with TensorFile(tmp_path / "both.safetensors") as file:
        assert set(file.keys()) == {"embeddings.embeddings", "embeddings.indices"}
        assert np.abs(file.read_numpy("embeddings.embeddings")).max(axis=1).all()


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
