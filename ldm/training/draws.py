"""The random numbers of a training step, a function of (seed, step, sample): equal after a resume and on any rank."""

from dataclasses import dataclass

import numpy as np
import paddle

from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.schedule import training_times


@dataclass(frozen=True)
class Draws:
    """What is random about a batch of B samples."""

    caption_dropped: paddle.Tensor  # (B,) bool
    image_used: paddle.Tensor  # (B,) bool
    t: paddle.Tensor  # (B,) noise times in [0.001, 1]
    epsilon: paddle.Tensor  # (B, *latent_shape) noise


def dropout_seed(*parts: int) -> int:
    """Seed of the UNet's dropout masks in a step, from what identifies the step and the rank."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def draw(
    seed: int, step: int, micro_step: int, indices, latent_shape, caption_dropout: float, image_conditioning: float
):
    """Draws for the samples `indices` at optimiser step `step`, accumulation step `micro_step`."""
    stream = NoiseStream([(seed, step, micro_step, int(index)) for index in indices], "training")
    return Draws(
        caption_dropped=stream.uniform() < caption_dropout,
        image_used=stream.uniform() < image_conditioning,
        t=training_times(stream.uniform()),
        epsilon=stream.normal(latent_shape),
    )
