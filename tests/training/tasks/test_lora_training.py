"""Training a LoRA, learned tokens and parts of the prior: only they change, the loss falls, a resume is exact."""

import json
import shutil

import extract_unet_weights
import numpy as np
import paddle
import pytest
from helpers import distance, run_python
from lora_runs import LORA, PRIOR, TOKENS, base, flags, run

from ldm.adapters.files import read_lora
from ldm.adapters.lora import find_targets
from ldm.model_c import ModelC
from ldm.training.checkpoints.export import export_networks
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer
from ldm.training.tasks import prior
from ldm.weights.files import TensorFile
from ldm.weights.plan import WeightsMismatch
from ldm.weights.release import Release, build_unfilled, load_network, network_config, output_size


@pytest.fixture(scope="module")
def trained(rule_release, scenes, tmp_path_factory):
    """A run that trained a LoRA and tokens, with an average, saved half-way."""
    output = tmp_path_factory.mktemp("lora") / "out"
    run(rule_release, scenes, output, f"{LORA} --max_steps 8 --save_steps 4 --ema_decay 0.9", TOKENS)
    return output


def extract(output, target, *more):
    assert extract_unet_weights.main(["--checkpoint_path", str(output), "--model_file", str(target), *more]) == 0
    return target


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
    code = "import sys, json; from ldm.programs.train import prior\n"
    code += "sys.exit(prior(json.loads(sys.argv[1])))"
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
