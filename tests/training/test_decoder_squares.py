"""Training Stage B on squares: the encoder has seen the whole image, the square gets the cells that lie in it."""

import paddle
import pytest
from helpers import distance
from small_release import write_scenes_and_release

from ldm.conditions import decoder_conditions
from ldm.model_b import ModelB
from ldm.training import decoder
from ldm.training.arguments import parse_into
from ldm.training.run import build_trainer

SIDE, CELLS = 128, 3  # of the squares, in pixels and in cells of the latent; images have twice as many


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("squares"))


def test_the_loss_is_that_of_the_squares_with_their_part_of_the_latent(folder):
    model = ModelB(folder / "release", "700M", "float32")
    paddle.seed(0)
    for parameter in model.unet.parameters():  # the head of an untrained network is zero: nothing would be compared
        parameter.set_value(parameter + paddle.randn(parameter.shape) * 0.05)
    images, t, epsilon = paddle.rand([2, 3, 256, 256]), paddle.to_tensor([0.3, 0.9]), paddle.randn([2, 4, 32, 32])
    ids, mask = (paddle.to_tensor(x) for x in model.frozen.text.tokenize(["a red star", "a blue ring"]))
    none, noise = paddle.zeros([2], dtype="bool"), paddle.zeros([2, 16, 2 * CELLS, 2 * CELLS])
    model(images, ids, mask, none, none, noise, t, epsilon, corners=paddle.to_tensor([[0, 128], [128, 0]]))
    losses = model.objective.per_sample

    latent_c = model.encoder.encode(paddle.nn.functional.interpolate(images, size=[192, 192], mode="nearest"))
    parts = paddle.stack([latent_c[0, :, :CELLS, CELLS:], latent_c[1, :, CELLS:, :CELLS]])
    squares = paddle.stack([images[0, :, :SIDE, SIDE:], images[1, :, SIDE:, :SIDE]])
    conditions = decoder_conditions(model.frozen.text(ids, mask)[1], parts)
    expected = model.training_loss(model.encode(squares), conditions, t, epsilon).per_sample
    assert distance(losses, expected) < 1e-6
    assert float(losses.std()) > 0


def test_a_changing_scale_of_the_encoder_is_refused_with_the_remedy(folder):
    flags = f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --output_dir {folder / 'out'}"
    groups = parse_into(decoder.GROUPS, f"{flags} --resolution 256 --random_crop 128".split())
    with pytest.raises(ValueError, match="--encoder_scale_max 1.0: give both the same value, 0.75"):
        build_trainer(decoder.build_task, *groups)
