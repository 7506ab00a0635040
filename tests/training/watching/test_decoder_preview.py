"""A decoder that is shown the previewer's picture of the prior's latent, as its small image."""

import paddle
import pytest
from helpers import distance
from small_release import stir, write_scenes_and_release

from ldm.model_b import ModelB
from ldm.networks.layers.resample import resize
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer
from ldm.training.tasks import decoder

CAPTIONS = ["a red star", "a blue ring"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("preview"), stage_b={"sees_preview": True})


@pytest.fixture
def model(folder):
    model = ModelB(folder / "release", "700M", "float32")
    stir(model.unet)
    return model


def sample(model, latent_c):
    return model.sample(latent_c, CAPTIONS, 256, 256, cfg=2.0, seeds=(0, 1), steps=2, progress=False)


def seen_by(model, run):
    """The conditions of the UNet in each of its calls during `run`."""
    calls, forward = [], model.unet.forward
    model.unet.forward = lambda x, r, **conditions: calls.append(conditions) or forward(x, r, **conditions)
    model.unet.prepare = lambda size, **conditions: (
        calls.append(conditions) or type(model.unet).prepare(model.unet, size, **conditions)
    )
    run()
    return calls


def test_sampling_is_guided_from_no_image_towards_the_preview(model):
    latent_c = paddle.randn([2, 16, 6, 6])
    calls = seen_by(model, lambda: sample(model, latent_c))
    pixels = paddle.concat([call["pixels"] for call in calls]).reshape([-1, 2, 3, *calls[0]["pixels"].shape[2:]])
    place = 256 // 4 // model.unet.patch_size
    preview = resize(2 * model.frozen.previewer(latent_c) - 1, [place, place])
    shown = [part for part in pixels if float(part.abs().max()) > 0]
    assert 0 < len(shown) < len(pixels), "neither with nor without an image"
    assert all(distance(part, preview) < 1e-6 for part in shown)


def test_the_preview_decides_the_image(model):
    latent_c = paddle.randn([2, 16, 6, 6])
    with_preview = sample(model, latent_c)
    model.unet.sees_preview = False
    assert distance(sample(model, latent_c), with_preview) > 1e-2


def test_compiled_it_makes_the_same_image(model, tmp_path):
    latent_c = paddle.randn([2, 16, 6, 6])
    plain = sample(model, latent_c)
    model.compile(tmp_path)
    assert distance(sample(model, latent_c), plain) < 1e-5


def test_training_leaves_the_preview_out_with_the_latent(model):
    images, t, epsilon = paddle.rand([2, 3, 128, 128]), paddle.to_tensor([0.3, 0.9]), paddle.randn([2, 4, 32, 32])
    ids, mask = (paddle.to_tensor(x) for x in model.frozen.text.tokenize(CAPTIONS))
    dropped, noise = paddle.to_tensor([True, False]), paddle.randn([2, 16, 3, 3])
    no = paddle.zeros([2], dtype="bool")
    arguments = model.encode_batch(images, ids, mask, no, dropped, noise, t, epsilon)
    (seen,) = seen_by(model, lambda: model(**arguments))
    assert [float(part.abs().max()) > 0 for part in seen["pixels"]] == [False, True]
    preview = 2 * model.frozen.previewer(seen["effnet"]) - 1
    assert distance(seen["pixels"][1], resize(preview, seen["pixels"].shape[2:])[1]) < 1e-6


def test_the_decoders_of_the_release_are_given_no_image(tmp_path):
    model = ModelB(write_scenes_and_release(tmp_path) / "release", "700M", "float32")
    assert model.small_image(paddle.zeros([1, 16, 6, 6]), [64, 64]) is None
    assert all("pixels" not in call for call in seen_by(model, lambda: sample(model, paddle.randn([2, 16, 6, 6]))))


def test_the_encoder_behind_the_preview_is_not_trained_with_it(folder, tmp_path):
    flags = f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --resolution 256"
    flags += f" --output_dir {tmp_path} --train_encoder True"
    with pytest.raises(ValueError, match="needs another previewer"):
        build_trainer(decoder.build_task, *parse_into(decoder.GROUPS, flags.split()))
