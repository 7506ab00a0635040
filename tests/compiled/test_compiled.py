"""Compiled networks: what they compute, when a kept program is used, and what is refused."""

import json
import os

import numpy as np
import paddle
import pytest
from helpers import distance
from tiny_networks import inputs_b, inputs_c, stage_b, stage_c

import ldm.compiled.cache
import ldm.compiled.unet
from ldm.adapters.lora import LoRA
from ldm.compiled.cache import RECORD, ProgramCache, checksum, default_folder
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


def small():
    """A prior of one level, quick to compile."""
    return stage_c(
        c_hidden=[16], nhead=[2], blocks=[[1], [1]], block_repeat=None, level_config=["CTA"], switch_level=[]
    )


def split(inputs):
    """(x, r) and the conditions."""
    return (inputs["x"], inputs["r"]), {key: value for key, value in inputs.items() if key not in ("x", "r")}


def flip(path, place: int):
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def rewrite(path, **changes):
    """A JSON file with other values; None takes one out."""
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def entries(folder):
    return sorted(path for path in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def said():
    """What is said about compiling."""
    return []


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
def test_a_program_is_kept_for_these_weights_and_shapes(tmp_path, said):
    network = small()
    (x, r), conditions = split(inputs_c(network))

    def output(of=network, conditions=conditions, x=x, r=r):
        return CompiledUNet(of, tmp_path, say=said.append).bound(x.shape[2:], **conditions)(x, r)

    first = output()
    assert len(entries(tmp_path)) == len(said) == 1
    np.testing.assert_array_equal(output().numpy(), first.numpy())
    assert len(entries(tmp_path)) == len(said) == 1  # the second time it is there

    weight = network.down_blocks[0][0].channelwise[4].weight
    weight[-1, -1] += 1.0  # a single number, none of the first of its tensor
    assert distance(output(), network(x, r, **conditions)) < 1e-5 and distance(output(), first) > 1e-5
    assert len(entries(tmp_path)) == len(said) == 2

    single = {name: value[:1] for name, value in conditions.items()}
    assert distance(output(conditions=single, x=x[:1], r=r[:1]), network(x[:1], r[:1], **single)) < 1e-5
    assert len(entries(tmp_path)) == len(said) == 3


@paddle.no_grad()
def test_another_source_or_version_misses(tmp_path, said, monkeypatch):
    network = small()
    (x, r), conditions = split(inputs_c(network))
    for index, (name, value) in enumerate([("source", "a"), ("source", "b"), ("version", "9.9")]):
        if name == "source":
            monkeypatch.setattr(ldm.compiled.unet, "source_hash", lambda: value)
        else:
            monkeypatch.setattr(paddle, "__version__", value)
        CompiledUNet(network, tmp_path, say=said.append).bound(x.shape[2:], **conditions)
        assert len(entries(tmp_path)) == len(said) == index + 1


@paddle.no_grad()
@pytest.mark.parametrize(
    "damage",
    {
        "cut off": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100]),
        "no weights": lambda folder: (folder / WEIGHTS).unlink(),
        "no record": lambda folder: (folder / RECORD).unlink(),
        "another record": lambda folder: (folder / RECORD).write_text("[]"),
        "garbage of the right size": lambda folder: (folder / PROGRAM).write_bytes(
            b"x" * (folder / PROGRAM).stat().st_size
        ),
        "a flipped bit of the weights": lambda folder: flip(folder / WEIGHTS, -1),
        "a flipped bit of the program": lambda folder: flip(folder / PROGRAM, 1000),
        "sizes as earlier versions wrote them": lambda folder: rewrite(
            folder / RECORD, sha256=None, sizes={name: (folder / name).stat().st_size for name in (PROGRAM, WEIGHTS)}
        ),
        "the record of another program": lambda folder: rewrite(folder / RECORD, network="StageB"),
        "checksums that are none": lambda folder: rewrite(folder / RECORD, sha256=[1]),
        "a folder for a file": lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir(mode=0o700)),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_broken_entry_is_made_again(damage, tmp_path, said):
    network = small()
    (x, r), conditions = split(inputs_c(network))
    expected = network(x, r, **conditions)
    CompiledUNet(network, tmp_path, say=said.append).bound(x.shape[2:], **conditions)
    damage[1](entries(tmp_path)[0])
    output = CompiledUNet(network, tmp_path, say=said.append).bound(x.shape[2:], **conditions)(x, r)
    assert distance(output, expected) < 1e-5
    assert len(entries(tmp_path)) == 1 and sum("once" in line for line in said) == 2
    (line,) = [line for line in said if "compiled again" in line]
    assert entries(tmp_path)[0].name in line and "\n" not in line


def test_every_flipped_bit_is_seen(tmp_path):
    """In pieces that several threads read, at their edges and in between."""
    path, generator = tmp_path / "weights", np.random.default_rng(0)
    data = generator.bytes(100_000)
    path.write_bytes(data)
    for piece in (len(data), 1 << 12, 33_333):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ldm.compiled.cache, "PIECE", piece)
            sums = {checksum(path)}
            places = [0, piece - 1, min(piece, len(data) - 1), len(data) - 1, *generator.integers(0, len(data), 60)]
            for place in dict.fromkeys(map(int, places)):
                flip(path, place)
                sums.add(checksum(path))
                flip(path, place)
            path.write_bytes(data + b"\0")
            sums.add(checksum(path))
            path.write_bytes(data)
            assert len(sums) == len(dict.fromkeys(map(int, places))) + 2


@paddle.no_grad()
@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners of files here")
@pytest.mark.parametrize("whose", ["folder", "entry", "file", "another user's"])
def test_what_others_may_write_to_is_refused(whose, tmp_path, said, monkeypatch):
    network, cache = small(), tmp_path / "cache"
    (x, r), conditions = split(inputs_c(network))

    def bound():
        return CompiledUNet(network, cache, say=said.append).bound(x.shape[2:], **conditions)

    bound()
    assert cache.stat().st_mode & 0o777 == 0o700
    (entry,) = entries(cache)
    if whose == "another user's":
        monkeypatch.setattr(os, "getuid", lambda: entry.stat().st_uid + 1)
        message = "belongs to another user.*give --compile_cache a folder of your own"
    else:
        {"folder": cache, "entry": entry, "file": entry / WEIGHTS}[whose].chmod(0o777)
        message = "can be written to by other users.*chmod go-w"
    with pytest.raises(ValueError, match=message):
        bound()
    assert entries(cache) == [entry]


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
    cache = ProgramCache(tmp_path, ("a",))
    left = [tmp_path / f".{'0' * 32}.{name}" for name in ("old", "new")]
    for folder in left:
        folder.mkdir()
    os.utime(left[0], (0, 0))
    (tmp_path / ".keep").write_text("somebody's own")
    os.utime(tmp_path / ".keep", (0, 0))
    cache.get({"key": 1}, lambda folder: (folder / "a").write_text("whole"))
    assert not left[0].exists() and left[1].exists() and (tmp_path / ".keep").exists()


def test_an_entry_that_failed_leaves_nothing(tmp_path):
    cache = ProgramCache(tmp_path / "cache", ("a",))

    def fail(folder):
        (folder / "a").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.get({"key": 1}, fail)
    assert entries(tmp_path / "cache") == []
    folder = cache.get({"key": 1}, lambda folder: (folder / "a").write_text("whole"))
    assert json.loads((folder / RECORD).read_text())["key"] == 1
    assert cache.get({"key": 1}, fail) == folder


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


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "stable-cascade-paddle" / "compiled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder().parts[-3:] == (".cache", "stable-cascade-paddle", "compiled")
