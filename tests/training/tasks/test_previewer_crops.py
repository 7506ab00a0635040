"""Training previewer and encoder on squares cut from the images."""

import paddle
import pytest
from helpers import distance
from paddle import nn
from paddle.nn import functional as F
from small_release import write_scenes_and_release

from ldm.diffusion.noise import NoiseStream
from ldm.training.batches.draws import LatentNoiseDraws, RandomCrop, Streams
from ldm.training.flags.arguments import parse_into
from ldm.training.run import build_trainer
from ldm.training.tasks import previewer
from ldm.training.tasks.previewer import ModelPreviewer


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


def test_larger_latents_are_not_better(folder):
    """Behind a previewer that ignores their scale the loss has no slope in it: noise grows with the latents it is for."""

    class Scaled(nn.Layer):
        def __init__(self, latents):
            super().__init__()
            self.latents, self.scale = (
                latents,
                self.create_parameter([1], default_initializer=nn.initializer.Constant(2.0)),
            )

        def encode(self, images):
            return self.latents * self.scale

    class Blind(nn.Layer):
        def forward(self, x):
            return F.interpolate((x / x.square().mean().sqrt())[:, :3], scale_factor=8)

    model = ModelPreviewer(folder / "release", noise=0.5)
    model.effnet, model.previewer = Scaled(paddle.randn([2, 16, 3, 3])), Blind()
    model(paddle.rand([2, 3, 96, 96]), paddle.randn([2, 16, 3, 3])).backward()
    assert abs(float(model.effnet.scale.grad)) < 1e-6


def test_flat_latents_have_a_gradient(folder):
    model = ModelPreviewer(folder / "release", noise=0.5)
    latents = paddle.zeros([1, 16, 2, 2])
    latents.stop_gradient = False
    model.effnet = nn.Identity()
    model.effnet.encode = lambda images: latents
    model(paddle.rand([1, 3, 64, 64]), paddle.randn([1, 16, 2, 2])).backward()
    assert bool(paddle.isfinite(latents.grad).all())


def test_draws_cover_the_image(folder):
    stream = NoiseStream(list(range(400)), "test")
    drawn = LatentNoiseDraws(16, RandomCrop(64, 128, 1))(Streams(samples=stream, step=stream), {})
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
