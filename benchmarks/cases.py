"""What can be compared: the inputs of both sides, who computes them, and in which ways we do."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import save_file

STEP_WAYS = ("plain", "prepared", "compiled")
PEER_WAYS = ("eager", "compiled")  # compiled: by torch.compile
TOKENS = 77
WATCHED = (
    "down_blocks.0.0.depthwise.weight",
    "clip_txt_pooled_mapper.bias",
)  # the training case compares their gradients


@dataclass(frozen=True)
class Case:
    """A comparison. ours, peer: scripts that take ARGUMENTS... INPUTS WAY [CACHE]; grid: side of a 1024-pixel image's latent."""

    ours: str
    peer: str
    arguments: Callable  # version -> what both are told
    inputs: Callable  # (rng, batch, grid) -> {name: array}
    grid: int
    version: str
    ways: tuple = ("plain",)
    half: tuple = ()  # ways on a GPU in half precision

    def ways_on(self, device: str, dtype: str) -> tuple:
        """The ways there are on a device and in a dtype."""
        if device == "cpu":
            return self.ways if dtype == "float32" else ()
        return tuple(way for way in self.ways if way != "compiled") if dtype == "float32" else self.half


def conditions(rng, batch: int) -> dict:
    """Text and image of the prior."""
    shapes = {"clip_text": (TOKENS, 1280), "clip_text_pooled": (1, 1280), "clip_img": (1, 768)}
    return {name: rng.standard_normal((batch, *shape), dtype=np.float32) for name, shape in shapes.items()}


def prior_step(rng, batch: int, grid: int) -> dict:
    """Guided: every image is there twice, the second time with other text."""
    x = rng.standard_normal((batch, 16, grid, grid), dtype=np.float32)
    return {"x": np.concatenate([x, x]), "r": np.full(2 * batch, 0.5, np.float32), **conditions(rng, 2 * batch)}


def decoder_step(rng, batch: int, grid: int) -> dict:
    """Guided: every image is there twice, the second time with other text and a zero latent of the prior."""
    side = round(grid * 24 / 256)
    x, effnet = (
        rng.standard_normal((batch, *shape), dtype=np.float32) for shape in ((4, grid, grid), (16, side, side))
    )
    inputs = {"x": np.concatenate([x, x]), "effnet": np.concatenate([effnet, np.zeros_like(effnet)])}
    clip = rng.standard_normal((2 * batch, 1, 1280), dtype=np.float32)
    return inputs | {"clip": clip, "r": np.full(2 * batch, 0.5, np.float32)}


def training_step(rng, batch: int, grid: int) -> dict:
    """Noised latents, conditions and the noise to be predicted."""
    x, target = (rng.standard_normal((batch, 16, grid, grid), dtype=np.float32) for _ in range(2))
    return {"x": x, "target": target, "r": np.full(batch, 0.5, np.float32), **conditions(rng, batch)}


def latents(rng, batch: int, grid: int) -> dict:
    """Stage B's output."""
    return {"latent": rng.standard_normal((batch, 4, grid, grid), dtype=np.float32)}


def token_ids(rng, batch: int, grid: int) -> dict:
    """Captions of all lengths up to `grid` tokens, of a vocabulary without merges: bytes, then start, then end."""
    ids = rng.integers(0, 512, (batch, grid))
    ids[:, 0], ids[:, -1] = 512, 513
    return {"ids": ids.astype(np.int64)}


CASES = {
    "prior": Case("ours_step.py", "peer_unet.py", lambda version: ["stage_c", version], prior_step, 24, "1B", STEP_WAYS, STEP_WAYS[:2]),
    "decoder": Case("ours_step.py", "peer_unet.py", lambda version: ["stage_b", version], decoder_step, 256, "700M", STEP_WAYS, STEP_WAYS[:2]),
    "training": Case("ours_training.py", "peer_training.py", lambda version: [version], training_step, 24, "100M", half=("O1", "O2")),
    "stage_a": Case("ours_stage_a.py", "peer_stage_a.py", lambda version: [], latents, 256, "release", half=("plain",)),
    "text": Case("ours_text.py", "peer_text.py", lambda version: [], token_ids, TOKENS, "bigG"),
}  # fmt: skip


def write_inputs(path, case: Case, batch: int, grid: int):
    save_file(case.inputs(np.random.default_rng(0), batch, grid), path)


def read_inputs(path) -> dict:
    """What `write_inputs` wrote, as Paddle tensors."""
    from ldm.weights.files import TensorFile

    with TensorFile(path) as file:
        return {key: file.read(key) for key in file.keys()}
