"""Starting a diffusion UNet at "all of the input is noise", where a small network would need thousands of steps to get.

The norm behind the stem divides every pixel by its own length, and the prediction then lacks that length: with 16 input
channels an error of 0.2 of the noise, which sampling multiplies by 1 / alpha, a hundred at its first step. The release
starts with a head of zeros and trains for long. Here the stem gets a bias, so that the norm keeps lengths, and the head
is fitted by least squares to give back the input, the best prediction where there is nothing but noise. The maps of the
conditions get biases too: of zeros, as for a missing condition, their norms make gradients a thousand times as large.
"""

import numpy as np
import paddle

from ldm.networks.blocks import AttnBlock, FeedForwardBlock, ResBlock

SIDE, SAMPLES = 16, 16  # of the random inputs that the head is fitted on
BRANCH_SCALE = 0.1  # of what a residual branch adds at the start
CONDITION_BIAS = 0.5  # a condition of zeros must not be a vector of zeros for the norm behind its map: 0 / 0
STEM_BIAS = 2.0  # standard deviation, beside an input of 1
RIDGE = 1e-4  # relative to the features' power

CONDITION_MAPS = {  # what stands before a norm
    "stage_b": lambda unet: [
        *(mapper[index] for mapper in (unet.effnet_mapper, unet.pixels_mapper) for index in (0, 2)),
        unet.clip_mapper,
    ],
    "stage_c": lambda unet: [unet.clip_txt_mapper, unet.clip_txt_pooled_mapper, unet.clip_img_mapper],
}


@paddle.no_grad()
def start_as_identity(unet, kind: str):
    """Set stem and head of a new Stage B or C UNet so that it returns its input, whatever the noise level."""
    unet.eval()
    for block in unet.sublayers():
        if isinstance(block, (ResBlock, FeedForwardBlock)):
            _scale(block.channelwise[4].weight)
        elif isinstance(block, AttnBlock):
            _scale(block.attention.attn.out_proj.weight)
    for layer in CONDITION_MAPS[kind](unet):
        fan_in, width = layer.weight.shape
        layer.weight.set_value(paddle.randn([fan_in, width]) / fan_in**0.5)
        layer.bias.set_value(paddle.randn([width]) * CONDITION_BIAS)
    stem, head = unet.embedding[1], unet.clf[1]
    fan_in, width = stem.weight.shape
    stem.weight.set_value(paddle.randn([fan_in, width]) / fan_in**0.5)
    stem.bias.set_value(paddle.randn([width]) * STEM_BIAS)

    features = []
    hook = head.register_forward_pre_hook(lambda layer, inputs: features.append(inputs[0]))
    side = SIDE * unet.patch_size
    x = paddle.randn([SAMPLES, unet.c_in, side, side])
    unet(x, paddle.rand([SAMPLES]), **_random_conditions(unet, kind))
    hook.remove()

    weight, bias = _least_squares(
        features[0].reshape([-1, width]).numpy(), unet.embedding[0](x).reshape([-1, fan_in]).numpy()
    )
    head.weight.set_value(weight)
    head.bias.set_value(bias)
    unet.train()


def _scale(weight):
    weight.set_value(weight * BRANCH_SCALE)


def _random_conditions(unet, kind: str) -> dict:
    """Conditions as they occur: standard normal."""
    if kind == "stage_b":
        return {
            "effnet": paddle.randn([SAMPLES, unet.effnet_mapper[0].weight.shape[0], 4, 4]),
            "clip": paddle.randn([SAMPLES, 1, unet.clip_mapper.weight.shape[0]]),
        }
    names = {
        "clip_text": "clip_txt_mapper",
        "clip_text_pooled": "clip_txt_pooled_mapper",
        "clip_img": "clip_img_mapper",
    }
    return {name: paddle.randn([SAMPLES, 1, getattr(unet, mapper).weight.shape[0]]) for name, mapper in names.items()}


def _least_squares(features: np.ndarray, targets: np.ndarray):
    """Weight (width, c) and bias (c,) that map features (N, width) to targets (N, c), float32."""
    mean = features.mean(0, dtype=np.float64)
    centred = features - mean
    covariance = centred.T @ centred / len(centred)
    covariance += RIDGE * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weight = np.linalg.solve(covariance, centred.T @ targets / len(centred))
    return weight.astype(np.float32), (targets.mean(0) - mean @ weight).astype(np.float32)
