"""Training Stage B on squares: the encoder has seen the whole image, the square gets what lies over it in the whole."""

import paddle
import pytest
from helpers import distance
from small_release import stir, write_scenes_and_release

from ldm.conditions import decoder_conditions
from ldm.model_b import ModelB

SIDE, CELLS = 128, 6  # of the squares in pixels; of the latents of whole images, of twice that side


@pytest.fixture(scope="module", params=[False, True], ids=["latent", "preview"])
def folder(tmp_path_factory, request):
    return write_scenes_and_release(tmp_path_factory.mktemp("squares"), stage_b={"sees_preview": request.param})


def parts(model, condition):
    """What lies over the two squares of a condition laid over the decoder's stem."""
    place = 4 * model.unet.patch_size
    over = paddle.nn.functional.interpolate(condition, size=[256 // place] * 2, mode="bilinear", align_corners=True)
    end = SIDE // place
    return paddle.stack(
        [over[0, :, :end, 128 // place :], over[1, :, 40 // place : 40 // place + end, 8 // place : 8 // place + end]]
    )


def test_the_loss_is_that_of_the_squares_with_their_part_of_the_latent(folder):
    model = ModelB(folder / "release", "700M", "float32")
    stir(model.unet)
    images, t, epsilon = paddle.rand([2, 3, 256, 256]), paddle.to_tensor([0.3, 0.9]), paddle.randn([2, 4, 32, 32])
    ids, mask = (paddle.to_tensor(x) for x in model.frozen.text.tokenize(["a red star", "a blue ring"]))
    none, noise = paddle.zeros([2], dtype="bool"), paddle.zeros([2, 16, CELLS, CELLS])
    corners = paddle.to_tensor([[0, 128], [40, 8]])
    model(**model.encode_batch(images, ids, mask, none, none, noise, t, epsilon, corners))
    losses = model.objective.per_sample

    latent_c = model.encoder.encode(paddle.nn.functional.interpolate(images, size=[192, 192], mode="nearest"))
    pixels = parts(model, 2 * model.frozen.previewer(latent_c) - 1) if model.unet.sees_preview else None
    squares = paddle.stack([images[0, :, :SIDE, SIDE:], images[1, :, 40 : 40 + SIDE, 8 : 8 + SIDE]])
    conditions = decoder_conditions(model.frozen.text(ids, mask)[1], parts(model, latent_c), pixels)
    expected = model.training_loss(model.encode(squares), conditions, t, epsilon).per_sample
    assert distance(losses, expected) < 1e-6
    assert float(losses.std()) > 0
