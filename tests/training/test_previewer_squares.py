"""Training previewer and encoder on squares cut from the images."""

import paddle
import pytest
from helpers import distance
from small_release import write_scenes_and_release

from ldm.diffusion.noise import NoiseStream
from ldm.model_previewer import ModelPreviewer
from ldm.training import previewer
from ldm.training.arguments import parse_into
from ldm.training.draws import LatentNoiseDraws, Squares, Streams
from ldm.training.run import build_trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("squares"))


def groups(folder, output, flags=""):
    common = f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --output_dir {folder / output}"
    return parse_into(previewer.GROUPS, f"{common} --resolution 128 --per_device_train_batch_size 4 {flags}".split())


def test_the_loss_is_that_of_the_squares(folder):
    model = ModelPreviewer(folder / "release", noise=0.1)
    model.eval()
    images, noise = paddle.rand([2, 3, 128, 128]), paddle.randn([2, 16, 2, 2])
    squares = paddle.stack([images[0, :, 3:67, 60:124], images[1, :, :64, 11:75]])
    ours = model(images, noise, corners=paddle.to_tensor([[3, 60], [0, 11]]))
    assert distance(ours, model(squares, noise)) < 1e-6
    assert distance(ours, model(images[:, :, :64, :64], noise)) > 1e-3


def test_draws_cover_the_image(folder):
    stream = NoiseStream(list(range(400)), "test")
    drawn = LatentNoiseDraws(16, Squares(64, 128, 1))(Streams(samples=stream, step=stream), {})
    corners = drawn["corners"].numpy()
    assert drawn["latent_noise"].shape == [400, 16, 2, 2]
    assert corners.min() == 0 and corners.max() == 64 and len(set(corners[:, 0].tolist())) > 50


def test_a_run_on_squares(folder):
    flags = "--random_crop 64 --train_encoder True --max_steps 2 --learning_rate 1e-3 --image_logging_steps 0"
    trainer = build_trainer(previewer.build_task, *groups(folder, "run", flags))
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--random_crop 70", "must be a multiple of 32 from 64 to --resolution 128"),
        ("--random_crop 32", "must be a multiple of 32 from 64"),
        ("--random_crop 160", "must be a multiple of 32 from 64"),
        ("--random_crop 64 --aspect_buckets True", "leave one of them out"),
    ],
)
def test_what_cannot_be_cut(folder, flags, message):
    with pytest.raises(ValueError, match=message):
        build_trainer(previewer.build_task, *groups(folder, "refused", flags))
