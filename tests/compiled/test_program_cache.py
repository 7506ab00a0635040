"""The folder of compiled programs: when one is used, what of it is refused, what is made again."""

import json
import os

import numpy as np
import paddle
import pytest
from compiled_networks import entries, rewrite, small, split
from helpers import distance
from tiny_networks import inputs_c

import ldm.compiled.cache
import ldm.compiled.unet
from ldm.compiled.cache import RECORD, ProgramCache, checksum, default_folder
from ldm.compiled.unet import PROGRAM, WEIGHTS, CompiledUNet


def flip(path, place: int):
    """One bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


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
        "invalid checksums": lambda folder: rewrite(folder / RECORD, sha256=[1]),
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


def test_the_default_folder_is_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "stable-cascade-paddle" / "compiled"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder().parts[-3:] == (".cache", "stable-cascade-paddle", "compiled")
