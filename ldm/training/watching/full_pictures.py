"""Finished images of the prior in training: through Stage B and A, which are in memory only while they are used."""

from contextlib import contextmanager

import paddle

from ldm.frozen import open_release
from ldm.model_c import ModelC

DECODER_STEPS = 10


def decoder_files(weights_path, version: str) -> list:
    """The files of Stage B of `version` and of Stage A; FileNotFoundError if the release folder lacks one."""
    frozen, _ = open_release(weights_path, "float32")
    try:
        return [frozen.release.file(*part) for part in (("stage_b", version), ("stage_a", None))]
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--full_image_logging_steps: {error} Put it there, choose another model_b_version in config.py, or leave "
            "the flag out: previews need neither."
        ) from error


class FullImages:
    """Captions -> finished images by the prior `model` and a decoder of `version` and `dtype`."""

    def __init__(self, model: ModelC, version: str, dtype: str):
        self.model, self.version, self.dtype, self.decoder = model, version, dtype, None

    @contextmanager
    def loaded(self):
        """The decoder and Stage A in memory."""
        from ldm.model_b import ModelB

        frozen = self.model.frozen
        had_stage_a = "stage_a" in frozen.loaded
        self.decoder = ModelB(version=self.version, dtype=self.dtype, frozen=frozen)
        try:
            yield
        finally:
            self.decoder = None
            if not had_stage_a:
                frozen.give_up("stage_a")
            if paddle.is_compiled_with_cuda():
                paddle.device.cuda.empty_cache()

    def __call__(self, captions: list, size: int, steps: int) -> list:
        """One image (size, size, 3) per caption; caption i has seed i."""
        images = []
        for seed, caption in enumerate(captions):  # one at a time: memory is the training's
            latent = self.model.sample([caption], size, size, seeds=(seed,), steps=steps, progress=False)
            made, _ = self.decoder.log_image(
                latent, caption, size, size, seed=seed, steps=DECODER_STEPS, progress=False
            )
            images.append(made[0])
        return images
