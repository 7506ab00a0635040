"""A small stand-in release: official file names and formats, networks of a few million weights filled by rule.

Its weights are untrained. It exists so that every command of the project can be tried, and is tested, without a
download; its images are coloured noise.
"""

import json
from pathlib import Path

from tqdm.auto import tqdm

from ldm.demo.rule_clip import write_image_encoder, write_text_encoder, write_tokenizer
from ldm.weights.files import write_tensors
from ldm.weights.plan import release_shapes
from ldm.weights.release import FILES, build_unfilled
from ldm.weights.synthetic import rule_tensor

TEXT_WIDTH, TEXT_PROJECTION, IMAGE_PROJECTION = 64, 48, 32
NETWORKS = {
    ("stage_c", "1B"): dict(
        c_cond=64, c_hidden=[64, 64], nhead=[2, 2], blocks=[[1, 2], [2, 1]], c_clip_text=TEXT_WIDTH,
        c_clip_text_pooled=TEXT_PROJECTION, c_clip_img=IMAGE_PROJECTION,
    ),
    ("stage_b", "700M"): dict(
        c_cond=64, c_hidden=[16, 32, 64, 64], nhead=[-1, -1, 2, 2], blocks=[[1, 1, 1, 1], [1, 1, 1, 1]],
        block_repeat=[[1, 1, 1, 1], [1, 1, 1, 1]], c_clip=TEXT_PROJECTION,
    ),
    ("stage_a", None): dict(c_hidden=32, bottleneck_blocks=1, codebook_size=32),
    ("effnet", None): {},
    ("previewer", None): dict(c_hidden=32),
}  # fmt: skip


def write_rule_release(folder, salt: str = ""):
    """Write the whole release into `folder`: five networks, two CLIP towers, a tokenizer; about 90 MB."""
    folder = Path(folder)
    for (kind, version), config in tqdm(NETWORKS.items(), desc="Rule-filled networks", leave=False):
        write_rule_network(folder / f"{FILES[kind, version]}.safetensors", kind, config, salt)
    write_text_encoder(folder / "text_encoder", width=TEXT_WIDTH, projection_dim=TEXT_PROJECTION, salt=salt)
    write_image_encoder(
        folder / "image_encoder", projection_dim=IMAGE_PROJECTION, image_size=32, patch_size=8, salt=salt
    )
    write_tokenizer(folder / "tokenizer")


def write_rule_network(path, kind: str, config: dict, salt: str = "", dtype: str = "float32"):
    """One network in the official layout, filled by rule, one tensor at a time; `config` goes into its metadata."""
    entries = [
        (
            key,
            "int64" if not shape and key.endswith("num_batches_tracked") else dtype,
            shape,
            _filler(key, shape, salt),
        )
        for key, shape in release_shapes(build_unfilled(kind, config), kind).items()
    ]
    write_tensors(path, entries, {"config": json.dumps(config), "weights": "rule"})


def _filler(key, shape, salt):
    return lambda: rule_tensor(key, shape, salt)
