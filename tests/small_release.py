"""A release of a few hundred thousand untrained weights, and a dozen scenes to train it on."""

import numpy as np
import paddle

from ldm.demo.scenes.dataset import SceneSettings, make_example, write_scenes
from ldm.demo.scenes.render import render
from ldm.demo.untrained import write_untrained_release

STAGES = [
    {"fused": True, "expand": 2, "stride": 4, "c_in": 8, "c_out": 8, "layers": 1},
    {"fused": False, "expand": 2, "stride": 4, "c_in": 8, "c_out": 16, "layers": 2},
]
UNET = {"c_cond": 16, "c_hidden": [48, 48], "nhead": [2, 2], "blocks": [[1, 1], [1, 1]]}
ARCHITECTURE = {
    "stage_a": {"c_hidden": 16, "bottleneck_blocks": 1, "codebook_size": 16, "scale_factor": 1.0},
    "effnet": {"channels": 16, "stages": STAGES},
    "previewer": {"c_hidden": 16},
    "stage_b": {**UNET, "level_config": ["CT", "CTA"], "dropout": [0, 0], "c_clip": 16, "block_repeat": None},
    "stage_c": {**UNET, "c_clip_text": 16, "c_clip_text_pooled": 16, "c_clip_img": 16},
    "text_encoder": {
        "hidden_size": 16, "intermediate_size": 32, "projection_dim": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "hidden_act": "gelu", "max_position_embeddings": 32,
    },
    "image_encoder": {
        "hidden_size": 16, "intermediate_size": 32, "projection_dim": 16, "num_hidden_layers": 1,
        "num_attention_heads": 2, "hidden_act": "quick_gelu", "num_channels": 3, "image_size": 32, "patch_size": 8,
    },
    "tokenizer": {"vocab_size": 700},
}  # fmt: skip


def images(count=16, side=64):
    """Scenes as a batch (N, 3, S, S) in [0, 1]."""
    scenes = [make_example(SceneSettings(count, side), index)[0] for index in range(count)]
    return paddle.to_tensor(np.stack([render(scene, side) for scene in scenes]).transpose(0, 3, 1, 2) / np.float32(255))


def write_scenes_and_release(folder, stage_b=(), **stage_c):
    """`folder` with scenes/ and release/ in it; `stage_b`, `stage_c`: constructor arguments that differ, of decoder, prior."""
    write_scenes(folder / "scenes", SceneSettings(12, 128), 1, iter)
    captions = [path.read_text() for path in (folder / "scenes").rglob("*.txt")]
    changed = {
        "stage_b": {**ARCHITECTURE["stage_b"], **dict(stage_b)},
        "stage_c": {**ARCHITECTURE["stage_c"], **stage_c},
    }
    architecture = {**ARCHITECTURE, **changed}
    write_untrained_release(folder / "release", architecture, captions, images())
    return folder


def stir(network):
    """Move every parameter a little, the same way each time: the head of an untrained network is zero, and hides the rest."""
    paddle.seed(0)
    for parameter in network.parameters():
        parameter.set_value(parameter + paddle.randn(parameter.shape) * 0.05)
