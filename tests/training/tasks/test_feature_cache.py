"""Training on cached features is training on the images, and nothing stale is ever used."""

import json
import shutil

import numpy as np
import paddle
import pytest
from cached_features import SIZE, fill, flags_of, groups, reopen, run_script
from helpers import distance
from PIL import Image
from small_release import ARCHITECTURE, images
from spoiled import spoil

from ldm.data.dataset import ImageTextFolder
from ldm.demo.untrained import write_untrained_release
from ldm.frozen import open_release
from ldm.training.batches.fill_cache import encode_items
from ldm.training.checkpoints.files import find_state_file
from ldm.training.run import build_trainer, train
from ldm.training.tasks import prior


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


def test_the_recipe_names_what_was_used(place):
    _, cache = fill(place)
    recipe = json.loads((cache.folder / "recipe.json").read_text())
    assert recipe["resolution"] == SIZE and "effnet_encoder.safetensors" in recipe["encoders"]
    assert np.all([len(value) == 64 for value in recipe["encoders"].values()])


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
