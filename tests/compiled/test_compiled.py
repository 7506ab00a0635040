"""Compiled networks: what they compute, what is refused, and the cascade that is made of them."""

import numpy as np
import paddle
import pytest
from compiled_networks import entries, rewrite, small, split
from helpers import distance
from tiny_networks import inputs_b, inputs_c, stage_b, stage_c

import ldm.compiled.cache
import ldm.compiled.unet
from ldm.adapters.lora import LoRA
from ldm.compiled.cache import RECORD, checksum
from ldm.compiled.unet import PROGRAM, WEIGHTS, CompiledUNet
from ldm.pipeline import GenerationSettings, StableCascade

NETWORKS = {
    "C": (stage_c, {}, inputs_c, {}),
    "C, repeats and feed-forward": (
        stage_c,
        dict(block_repeat=[[2, 1], [1, 2]], level_config=["CTF", "CFTA"]),
        inputs_c,
        {},
    ),
    "C, switch, odd sides": (stage_c, dict(switch_level=[True]), inputs_c, dict(size=(7, 5))),
    "C, no self-attention": (stage_c, dict(self_attn=False), inputs_c, dict(batch=1, images=2)),
    "B": (stage_b, {}, inputs_b, {}),
    "B, sides that do not divide": (stage_b, {}, inputs_b, dict(size=(18, 26))),
}


@paddle.no_grad()
@pytest.mark.parametrize("make, options, make_inputs, sizes", NETWORKS.values(), ids=NETWORKS)
def test_compiled_is_plain(make, options, make_inputs, sizes, tmp_path, said):
    network = make(**options)
    (x, r), conditions = split(make_inputs(network, **sizes))
    first, second = network(x, r, **conditions), network(x * 0.5, r * 0.3, **conditions)
    bound = CompiledUNet(network, tmp_path, say=said.append).bound(x.shape[2:], **conditions)
    outputs = bound(x, r), bound(x * 0.5, r * 0.3)
    for output, expected in zip(outputs, (first, second)):  # both kept: a step's output is its own
        assert distance(output, expected) < 1e-5
    assert len(said) == 1 and "once" in said[0]


@paddle.no_grad()
def test_weights_may_be_given_up(tmp_path, said):
    network = small()
    (x, r), conditions = split(inputs_c(network))
    expected = network(x, r, **conditions)
    compiled = CompiledUNet(network, tmp_path, keep_weights=False, say=said.append)
    assert distance(compiled.bound(x.shape[2:], **conditions)(x, r), expected) < 1e-5
    assert distance(compiled.bound(x.shape[2:], **conditions)(x, r), expected) < 1e-5  # other conditions may follow
    with pytest.raises(ValueError, match="gave up its weights"):
        network(x, r, **conditions)
    with pytest.raises(ValueError, match=r"\[2, 4, 4, 4\].*in a run of its own"):
        compiled.bound((4, 4), **conditions)
    assert len(entries(tmp_path)) == 1


@paddle.no_grad()
def test_without_its_weights_a_broken_entry_is_removed_and_said(tmp_path, said):
    network = small()
    (x, r), conditions = split(inputs_c(network))
    CompiledUNet(network, tmp_path, say=said.append).bound(x.shape[2:], **conditions)
    (entry,) = entries(tmp_path)
    (entry / PROGRAM).write_bytes(b"x" * (entry / PROGRAM).stat().st_size)
    rewrite(entry / RECORD, sha256={name: checksum(entry / name) for name in (PROGRAM, WEIGHTS)})  # as if written so
    compiled = CompiledUNet(network, tmp_path, keep_weights=False, say=said.append)
    with pytest.raises(ValueError, match=f"{entry.name} cannot be read .* removed: start again"):
        compiled.bound(x.shape[2:], **conditions)
    assert entries(tmp_path) == []


@paddle.no_grad()
def test_what_cannot_be_compiled_is_refused(tmp_path, monkeypatch):
    network = small()
    (x, r), conditions = split(inputs_c(network))
    compiled = CompiledUNet(network, tmp_path)
    with pytest.raises(ValueError, match="no ControlNet residuals"):
        compiled.bound(x.shape[2:], **conditions, cnet=[None])
    with pytest.raises(ValueError, match="the conditions sca"):
        compiled.bound(x.shape[2:], **conditions, sca=r)
    monkeypatch.setattr(ldm.compiled.cache.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(ValueError, match="takes 0.0 GB.*0.0 GB left.*--compile_cache"):
        compiled.bound(x.shape[2:], **conditions)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is a file"):
        CompiledUNet(network, tmp_path / "file")
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    with pytest.raises(ValueError, match="on gpu:0: leave out --compile"):
        CompiledUNet(network, tmp_path)
    assert entries(tmp_path) == [tmp_path / "file"]


@paddle.no_grad()
def test_an_attached_lora_is_refused_and_a_merged_one_compiled(tmp_path, said):
    network = small()
    (x, r), conditions = split(inputs_c(network))
    lora = LoRA(network, ("channelwise", ".attn"), rank=2)
    for parameter in lora.parameters():
        parameter.set_value(paddle.randn(parameter.shape) * 0.3)
    with pytest.raises(ValueError, match="merge"):
        CompiledUNet(network, tmp_path)
    lora.merge()
    output = CompiledUNet(network, tmp_path, say=said.append).bound(x.shape[2:], **conditions)(x, r)
    assert distance(output, network(x, r, **conditions)) < 1e-5


def test_the_cascade_makes_the_same_images(rule_release, tmp_path):
    settings = GenerationSettings(height=256, width=320, steps=3, decoder_steps=2)
    cascade = StableCascade(rule_release)
    plain = cascade(["a fox", "a fox"], 2, settings, progress=False)
    cascade.compile(tmp_path)
    compiled = cascade(["a fox", "a fox"], 2, settings, progress=False)
    assert np.abs(plain.astype(int) - compiled.astype(int)).max() <= 1 and "compiled" in cascade.describe()
    assert len(entries(tmp_path)) == 2
    for call in (lambda: cascade.load_lora("x"), cascade.unload_loras):
        with pytest.raises(ValueError, match="is compiled for generation"):
            call()
    with pytest.raises(ValueError, match="cannot be trained"):
        cascade.prior.training_loss(None, {}, None, None)


def test_the_command_line(rule_release, tmp_path, capsys):
    import inference

    flags = [
        "--weights",
        str(rule_release),
        "--height",
        "256",
        "--width",
        "256",
        "--steps",
        "1",
        "--decoder_steps",
        "1",
    ]
    flags += ["--caption", "a fox", "--output_dir", str(tmp_path / "out")]
    for run in range(2):
        assert inference.main([*flags, "--compile", "--compile_cache", str(tmp_path / "cache")]) == 0
        out = capsys.readouterr().out
        assert out.count("Compiling Stage") == (2 if run == 0 else 0) and ", compiled" in out
    assert inference.main([*flags, "--compile_cache", str(tmp_path / "cache")]) == 2
    assert "--compile_cache is for --compile" in capsys.readouterr().err
