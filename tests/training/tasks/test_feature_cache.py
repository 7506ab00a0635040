"""Training on cached features is training on the images, and nothing stale is ever used."""

import json
import os
import shutil

import numpy as np
import paddle
import pytest
from helpers import distance
from PIL import Image
from small_release import ARCHITECTURE, images
from spoiled import spoil

from ldm.data.feature_cache import FeatureCache
from ldm.data.folder import ImageTextFolder
from ldm.demo.scenes.dataset import SceneSettings, write_scenes
from ldm.demo.untrained import write_untrained_release
from ldm.frozen import open_release
from ldm.training.batches import fill_cache as filling
from ldm.training.batches.cached import features_recipe, open_cached
from ldm.training.batches.fill_cache import encode_items, fill_cache
from ldm.training.checkpoints.files import find_state_file
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer, train
from ldm.training.tasks import prior

SIZE = 64


@pytest.fixture
def place(tmp_path):
    """Ten scenes and an untrained release for them."""
    write_scenes(tmp_path / "scenes", SceneSettings(10, 128), 1, iter)
    captions = [path.read_text() for path in (tmp_path / "scenes").rglob("*.txt")]
    write_untrained_release(tmp_path / "release", ARCHITECTURE, captions, images())
    return tmp_path


def fill(place, dtype="float32", size=SIZE) -> tuple[int, FeatureCache]:
    frozen, _ = open_release(place / "release", "float32")
    cache = FeatureCache(place / "cache", {**features_recipe(frozen, size), "dtype": dtype})
    return fill_cache(frozen, ImageTextFolder(place / "scenes", size), cache), cache


def reopen(place, size=SIZE):
    frozen, _ = open_release(place / "release", "float32")
    return open_cached(place / "cache", frozen, ImageTextFolder(place / "scenes", size), None)


def groups(place, output, flags=""):
    common = (
        f"--do_train --weights_path {place / 'release'} --dataset_path {place / 'scenes'} --output_dir {place / output}"
    )
    common = f"{common} --resolution {SIZE} --per_device_train_batch_size 5"  # `flags` come last and win
    return parse_into(prior.GROUPS, f"{common} {flags}".split())


@pytest.mark.parametrize(
    "name, key",
    [
        ("image_encoder/model.safetensors", "visual_projection.weight"),
        ("text_encoder/model.safetensors", "text_projection.weight"),
        ("effnet_encoder.safetensors", "mapper.0.weight"),
    ],
)
def test_an_encoder_that_makes_nan_is_named(place, name, key):
    spoil(place / "release" / name, key, np.nan)
    with pytest.raises(FloatingPointError, match=f"{place / 'release' / name}: {key} is not finite"):
        fill(place)


def test_cached_training_equals_training_on_images(place):
    fill(place)
    shares = "--max_steps 4 --learning_rate 1e-3 --caption_dropout 0.4 --image_conditioning 0.5"
    train(prior.build_task, *groups(place, "plain", shares))
    train(
        prior.build_task,
        *groups(place, "cached", f"{shares} --feature_cache {place / 'cache'} --dataloader_num_workers 1"),
    )
    plain, cached = (paddle.load(str(find_state_file(place / name))) for name in ("plain", "cached"))
    assert set(plain) == set(cached)
    for key in plain:
        assert distance(cached[key], plain[key]) < 1e-4, key


def test_the_losses_of_one_batch_agree_with_captions_dropped_and_images_used(place):
    fill(place)
    shares = "--caption_dropout 0.5 --image_conditioning 0.5"
    plain = build_trainer(prior.build_task, *groups(place, "a", shares))
    cached = build_trainer(prior.build_task, *groups(place, "b", f"{shares} --feature_cache {place / 'cache'}"))
    losses = []
    for trainer in (plain, cached):
        items = trainer.data_collator([trainer.train_dataset[i] for i in range(5)])
        batch = {name: paddle.to_tensor(value) for name, value in items.items()}
        losses.append(float(trainer.task.loss(trainer.drawn(batch, 0, 3, 0))))
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_the_encoders_are_not_loaded(place):
    fill(place)
    trainer = build_trainer(prior.build_task, *groups(place, "out", f"--max_steps 1 --feature_cache {place / 'cache'}"))
    trainer.train()
    assert not {"text", "image", "effnet"} & set(trainer.task.model.frozen.__dict__)


def test_rows_are_what_the_encoders_say(place):
    fill(place, "float16")
    dataset, frozen = reopen(place), open_release(place / "release", "float32")[0]
    folder = ImageTextFolder(place / "scenes", SIZE, frozen.image.image_size)
    expected = encode_items(frozen, [folder[3]])
    for name, value in expected.items():
        assert distance(dataset[3][name], value[0]) < 1e-3, name


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


def test_another_encoder_or_size_finds_nothing(place):
    fill(place)
    with pytest.raises(ValueError, match="resolution 64 instead of 96"):
        reopen(place, 96)
    captions = [path.read_text() for path in (place / "scenes").rglob("*.txt")]
    shutil.rmtree(place / "release")
    write_untrained_release(place / "release", ARCHITECTURE, captions, images(), seed=1)
    with pytest.raises(ValueError, match="no features of these encoders.*other encoders"):
        reopen(place)


def test_a_damaged_row_is_refused(place):
    _, cache = fill(place)
    [path] = cache.folder.glob("rows_*")
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    dataset = reopen(place)
    with pytest.raises(ValueError, match="is damaged"):
        [dataset[index] for index in range(10)]


def test_a_cut_off_file_is_refused(place):
    _, cache = fill(place)
    [path] = cache.folder.glob("rows_*")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="is damaged"):
        reopen(place)


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


def test_the_recipe_names_what_was_used(place):
    _, cache = fill(place)
    recipe = json.loads((cache.folder / "recipe.json").read_text())
    assert recipe["resolution"] == SIZE and "effnet_encoder.safetensors" in recipe["encoders"]
    assert np.all([len(value) == 64 for value in recipe["encoders"].values()])


def flags_of(place, dataset="scenes") -> list:
    """What `run_script` is always given."""
    return ["--dataset_path", place / dataset, "--weights_path", place / "release", "--feature_cache", place / "cache"]


def run_script(*flags) -> int:
    import cache_features

    return cache_features.main([str(flag) for flag in flags])


def test_buckets_and_smart_crops_can_be_cached(place, capsys):
    """Rows have their bucket's shape, batches are of one shape, and the order is that of training on the images."""
    for index, path in enumerate(sorted((place / "scenes").rglob("*.png"))):
        if index % 2:
            Image.open(path).resize((160, 80)).save(path)
    flags = flags_of(place)
    assert run_script(*flags, "--resolution", 96, "--aspect_buckets", "--crop", "smart") == 0
    shape = (
        "--aspect_buckets True --random_bucket 0 --crop smart --per_device_train_batch_size 2 --image_logging_steps 3"
    )
    cached = build_trainer(
        prior.build_task,
        *groups(place, "cached", f"--resolution 96 {shape} --max_steps 4 --feature_cache {place / 'cache'}"),
    )
    rows = [cached.train_dataset[index]["latents"].shape for index in range(10)]
    assert rows == [(16, 3, 3), (16, 2, 4)] * 5
    plain = build_trainer(prior.build_task, *groups(place, "plain", f"--resolution 96 {shape} --max_steps 4"))
    batches = [[int(index) for index in batch] for batch in cached._get_train_sampler()]
    assert batches == [[int(index) for index in batch] for batch in plain._get_train_sampler()]
    assert all(len({index % 2 for index in batch}) == 1 for batch in batches)
    cached.train()
    with pytest.raises(ValueError, match="crop 'smart' instead of 'centre'"):
        build_trainer(prior.build_task, *groups(place, "out", f"--resolution 96 --feature_cache {place / 'cache'}"))


@pytest.mark.parametrize("flags", ["--flip True", "--crop random", "--aspect_buckets True"])
def test_views_that_change_are_refused(place, flags):
    fill(place)
    with pytest.raises(ValueError, match="a feature cache holds one fixed view of every image"):
        build_trainer(prior.build_task, *groups(place, "out", f"{flags} --feature_cache {place / 'cache'}"))


def test_the_same_images_in_a_tar_are_found(place, capsys):
    """Rows belong to image and caption, not to where those lie."""
    import webdataset

    fill(place)
    with webdataset.TarWriter(str(place / "scenes.tar")) as tar:
        for path in sorted((place / "scenes").rglob("*.png")):
            caption = path.with_suffix(".txt").read_text()
            tar.write({"__key__": path.stem, "png": path.read_bytes(), "txt": caption})
    flags = flags_of(place, "scenes.tar")
    assert run_script(*flags, "--resolution", SIZE) == 0
    assert ": 0 images encoded, 10 were there already" in capsys.readouterr().out


def test_the_recipe_of_earlier_caches_has_not_changed(place):
    """Caches that were filled before there were buckets are still found."""
    _, cache = fill(place)
    assert set(cache.recipe) == {"format", "resolution", "crop", "tokens", "encoders", "dtype"}
    assert (cache.recipe["format"], cache.recipe["crop"], cache.recipe["tokens"]) == (1, "centre", "all")
