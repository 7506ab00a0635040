"""Filling a feature cache: only what is new, again after a stop or a full disk, and never by what has changed unseen."""

import os
import shutil

import numpy as np
import pytest
from cached_features import SIZE, fill, flags_of, groups, reopen, run_script

from ldm.data.dataset import ImageTextFolder
from ldm.data.feature_cache import FeatureCache
from ldm.frozen import open_release
from ldm.training.batches import fill_cache as filling
from ldm.training.batches.cached import open_cached
from ldm.training.run import build_trainer
from ldm.training.tasks import prior


def test_filling_again_encodes_only_what_is_new(place):
    assert fill(place)[0] == 10
    assert fill(place)[0] == 0
    [image, *_] = sorted((place / "scenes").rglob("*.png"))
    image.with_suffix(".txt").write_text("something else entirely")
    with pytest.raises(ValueError, match=r"lacks 1 of 10 samples.*000000\.png"):
        reopen(place)
    assert fill(place)[0] == 1
    reopen(place)


def test_an_image_changed_under_its_name_is_noticed(place):
    fill(place)
    first, second, *_ = sorted((place / "scenes").rglob("*.png"))
    shutil.copy(second, first)
    with pytest.raises(ValueError, match="lacks 1 of 10"):
        reopen(place)


def replace_unseen(image, by):
    """Another picture in its place: the same name, size and modification time."""
    before, pixels = image.stat(), by.read_bytes()
    image.write_bytes(pixels + b"\0" * (before.st_size - len(pixels)))  # behind a PNG's end nothing is read
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (image.stat().st_size, image.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


@pytest.mark.parametrize("trust", [False, True])
def test_another_image_of_the_same_name_size_and_time_is_noticed(place, trust, capsys):
    fill(place)
    small, *_, large = sorted((place / "scenes").rglob("*.png"), key=lambda path: path.stat().st_size)
    replace_unseen(large, small)
    frozen, _ = open_release(place / "release", "float32")
    with pytest.raises(ValueError, match=f"lacks 1 of 10 samples as they are now .*{large.name}"):
        open_cached(place / "cache", frozen, ImageTextFolder(place / "scenes", SIZE), None, trust_mtime=trust)
    said = "--trust_mtime: 1 of 10 images are not as scripts/cache_features.py saw them"
    assert (said in capsys.readouterr().out) == trust


def test_trusted_images_are_not_read(place, monkeypatch, capsys):
    """By the trainer and by the script, once the script has seen them."""
    fill(place)
    opened = []
    monkeypatch.setattr("ldm.data.sources.pairs.PairFolder.open", lambda self, index: opened.append(index))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    trainer = build_trainer(
        prior.build_task, *groups(place, "a", f"--feature_cache {place / 'cache'} --trust_mtime True")
    )
    assert len(trainer.train_dataset) == 10 and not opened
    monkeypatch.undo()
    flags = flags_of(place)
    assert run_script(*flags, "--resolution", SIZE, "--trust_mtime") == 0
    assert ": 0 images encoded, 10 were there already" in capsys.readouterr().out
    (place / "cache" / "image_hashes.npz").write_bytes(b"damaged")
    assert run_script(*flags, "--resolution", SIZE, "--trust_mtime") == 2
    assert "image_hashes.npz is damaged" in capsys.readouterr().err
    assert run_script(*flags, "--resolution", SIZE) == 0  # hashes all, and writes it again
    assert run_script(*flags, "--resolution", SIZE, "--trust_mtime") == 0


def test_trusting_without_a_cache_is_refused(place):
    with pytest.raises(ValueError, match="--trust_mtime is for --feature_cache.*leave it out"):
        build_trainer(prior.build_task, *groups(place, "a", "--trust_mtime True"))


def test_features_that_half_precision_cannot_hold_are_refused(place, monkeypatch):
    encode = filling.encode_items

    def too_large(*arguments):
        return {name: values * 1e9 for name, values in encode(*arguments).items()}

    monkeypatch.setattr(filling, "encode_items", too_large)
    with pytest.raises(ValueError, match=r"latents of 000/000000.png.* is too large for float16: use --dtype float32"):
        fill(place, "float16")
    assert not list((place / "cache").rglob("rows_*"))


def test_a_full_disk_is_one_line_and_the_rest_is_made_later(place, monkeypatch, capsys):
    """The second file of rows does not fit."""
    import resource

    monkeypatch.setattr(filling, "ROWS", 4)
    add, limit = FeatureCache.add, resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(cache, *arguments):
        if len(cache):
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
        try:
            add(cache, *arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    monkeypatch.setattr(FeatureCache, "add", full)
    flags = [*flags_of(place), "--resolution", SIZE]
    assert run_script(*flags) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if "cannot be written" in line]
    assert "rows_" in line and "make room" in line
    assert not list((place / "cache").rglob("*.part")) and len(list((place / "cache").rglob("rows_*"))) == 1
    monkeypatch.undo()
    assert run_script(*flags) == 0
    assert ": 6 images encoded, 4 were there already" in capsys.readouterr().out


def test_stopped_filling_goes_on(place, monkeypatch):
    monkeypatch.setattr(filling, "ROWS", 4)
    encode, calls = filling.encode_items, []

    def dies_in_the_second_file(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(*arguments)

    monkeypatch.setattr(filling, "encode_items", dies_in_the_second_file)
    with pytest.raises(KeyboardInterrupt):
        fill(place)
    assert not list((place / "cache").rglob("*.part"))
    assert fill(place)[0] == 6


def test_several_processes_share_the_rows(place, monkeypatch):
    """Started at any time, each makes its own; together they make what one makes (other batches round
    differently)."""
    alone = fill(place)[1]
    rows = {key: alone.read(key) for key in alone._places}
    shutil.rmtree(place / "cache")
    flags = flags_of(place)
    for rank in (1, 0):
        monkeypatch.setattr("paddle.distributed.get_world_size", lambda: 2)
        monkeypatch.setattr("paddle.distributed.get_rank", lambda rank=rank: rank)
        assert run_script(*flags, "--resolution", SIZE) == 0
        assert 0 < len(list((place / "cache").rglob("rows_*"))) == 2 - rank
    together = FeatureCache(place / "cache", alone.recipe)
    assert together._places.keys() == rows.keys()
    for key, row in rows.items():
        for name, values in together.read(key).items():
            np.testing.assert_allclose(values, row[name], rtol=0, atol=1e-5, err_msg=name)
