"""Training the decoder on cached features is training it on the images."""

import paddle
import pytest
from small_release import stir, write_scenes_and_release

from ldm.data.dataset import ImageTextFolder
from ldm.data.feature_cache import FeatureCache
from ldm.features import DecoderFeatures
from ldm.frozen import open_release
from ldm.training.batches.cached import features_recipe
from ldm.training.batches.fill_cache import fill_cache
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer, train
from ldm.training.tasks import decoder

SIZE = 256


class Loss:
    """Stands for an Objective."""

    loss = None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("decoder"))


@pytest.fixture(scope="module")
def previewing(tmp_path_factory):
    """`place` of a decoder that is shown the preview of the latent."""
    return write_all(tmp_path_factory.mktemp("previewing"), sees_preview=True)


def write_all(folder, **stage_b):
    """Scenes, a release, and the scenes' features at three quarters of the size."""
    place = write_scenes_and_release(folder, stage_b)
    frozen, _ = open_release(place / "release", "float32")
    features = DecoderFeatures(0.75, "area")
    recipe = {**features_recipe(frozen, SIZE, features=features), "dtype": "float32"}
    cache = FeatureCache(place / "cache", recipe)
    assert fill_cache(frozen, ImageTextFolder(place / "scenes", SIZE), cache, features=features) == len(cache) > 0
    return place


def groups(place, output, flags=""):
    common = f"--do_train --weights_path {place / 'release'} --dataset_path {place / 'scenes'} --resolution {SIZE}"
    common += f" --output_dir {place / output} --per_device_train_batch_size 3 --encoder_scale_min 0.75"
    common += " --encoder_scale_max 0.75 --encoder_resample area --encoder_noise 0.2 --caption_dropout 0.5"
    return parse_into(decoder.GROUPS, f"{common} {flags}".split())


# Stage A sees nothing beyond the edges of a square, but does where the square is cut from the whole image's latent
@pytest.mark.parametrize("squares, tolerance", [("", 1e-6), ("--random_crop 128", 1e-2)])
@pytest.mark.parametrize("kind", ["place", "previewing"])
def test_the_losses_of_one_batch_agree(request, kind, squares, tolerance):
    place = request.getfixturevalue(kind)
    plain = build_trainer(decoder.build_task, *groups(place, "a", squares))
    cached = build_trainer(decoder.build_task, *groups(place, "b", f"{squares} --feature_cache {place / 'cache'}"))
    losses = []
    for trainer in (plain, cached):
        stir(trainer.task.model.unet)
        items = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
        batch = {name: paddle.to_tensor(value) for name, value in items.items()}
        losses.append(float(trainer.task.loss(trainer.drawn(batch, 0, 3, 0))))
    assert losses[1] == pytest.approx(losses[0], rel=tolerance)


def test_squares_are_cut_from_the_same_place_of_both_latents(place):
    flags = f"--random_crop 128 --feature_cache {place / 'cache'}"
    task = build_trainer(decoder.build_task, *groups(place, "c", flags)).task
    model = task.model
    inner = paddle.arange(64 * 64, dtype="float32").reshape([1, 1, 64, 64]).expand([1, 4, 64, 64])
    seen = {}
    model.training_loss = lambda latents, conditions, t, epsilon: seen.update(latents=latents, **conditions) or Loss
    model.cut_condition = lambda latents, size, corners, crop: seen.update(size=size, corners=corners, crop=crop)
    no, t, epsilon = paddle.zeros([1], dtype="bool"), paddle.ones([1]), paddle.zeros([1, 4, 32, 32])
    latents = paddle.zeros([1, 16, 6, 6])
    rows = {"decoder_latents": inner, "latents": latents, "pooled": paddle.zeros([1, 1, 16])}
    drawn = {"caption_dropped": no, "encoder_dropped": no, "encoder_noise": latents, "t": t, "epsilon": epsilon}
    task.loss({**rows, **drawn, "corners": paddle.to_tensor([[40, 128]])})
    assert (seen["size"], seen["crop"]) == ([256, 256], 128) and seen["corners"].tolist() == [[40, 128]]
    assert float(seen["latents"][0, 0, 0, 0]) == 10 * 64 + 32 and seen["latents"].shape == [1, 4, 32, 32]


def test_a_run_needs_no_encoder(place):
    flags = f"--max_steps 2 --image_logging_steps 0 --feature_cache {place / 'cache'}"
    trainer = build_trainer(decoder.build_task, *groups(place, "out", flags))
    trainer.train()
    assert trainer.state.global_step == 2
    assert not {"text", "image", "effnet", "stage_a"} & set(trainer.task.model.frozen.__dict__)


def test_parts_of_the_decoder_stay_as_they_are(place):
    flags = f"--max_steps 2 --image_logging_steps 0 --feature_cache {place / 'cache'} --freeze depthwise clf --learning_rate 1e-2"
    trainer = build_trainer(decoder.build_task, *groups(place, "frozen", flags))
    before = {key: value.clone() for key, value in trainer.task.model.unet.state_dict().items()}
    trainer.train()
    changed = {
        key for key, value in trainer.task.model.unet.state_dict().items() if not bool((value == before[key]).all())
    }
    frozen = {key for key in before if "depthwise" in key or "clf" in key}
    assert frozen and changed and not changed & frozen


def test_pictures_are_drawn_of_the_images_themselves(place):
    flags = f"--max_steps 1 --preflight False --image_logging_steps 1 --num_inference_steps 1 --feature_cache {place / 'cache'}"
    train(decoder.build_task, *groups(place, "looks", flags))
    assert list((place / "looks" / "pictures").glob("*.png"))


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--train_encoder True", "--train_encoder changes what --feature_cache holds"),
        ("--encoder_scale_max 1.0", "the same value"),
        ("--encoder_resample nearest", "no features of these encoders.*encoder_resample 'area' instead of 'nearest'"),
    ],
)
def test_what_the_cache_does_not_hold_is_refused(place, flags, message):
    with pytest.raises(ValueError, match=message):
        build_trainer(decoder.build_task, *groups(place, "no", f"--feature_cache {place / 'cache'} {flags}"))


def test_the_script_fills_what_the_trainer_reads(place, tmp_path):
    import cache_features

    flags = ["--stage", "decoder", "--encoder_scale", "0.75", "--encoder_resample", "area", "--resolution", str(SIZE)]
    flags += ["--weights_path", str(place / "release"), "--dataset_path", str(place / "scenes")]
    assert cache_features.main([*flags, "--feature_cache", str(tmp_path)]) == 0
    trainer = build_trainer(decoder.build_task, *groups(place, "script", f"--feature_cache {tmp_path}"))
    assert set(trainer.train_dataset[0]) == {"decoder_latents", "latents", "pooled", "index"}
