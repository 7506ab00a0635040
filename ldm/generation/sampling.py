"""What both stages share when they sample: captions to a batch, the loop with its progress bar, finished pixels."""

from dataclasses import replace

import numpy as np
import paddle
from tqdm.auto import tqdm

from ldm.diffusion.guidance import Guidance
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.sampling import SamplingSettings, sample
from ldm.diffusion.schedule import CosineSchedule
from ldm.generation.request import MOST_IMAGES, check_count
from ldm.modes.mode import SamplingInputs
from ldm.weights.blame import check_finite


def caption_batch(captions, batch_size: int) -> list[str]:
    """One caption repeated, or a list of `batch_size` of them, as a list."""
    check_count("batch_size", batch_size, MOST_IMAGES)
    if isinstance(captions, str):
        return [captions] * batch_size
    captions = list(captions)
    if len(captions) != batch_size:
        raise ValueError(f"{len(captions)} captions for a batch of {batch_size}: give one caption or {batch_size}.")
    return captions


def check_batch(captions, seeds, *others):
    """ValueError unless there are as many seeds as captions, and rows of whatever else makes an image."""
    counts = [len(captions), len(seeds), *(other.shape[0] for other in others)]
    if len(set(counts)) > 1:
        names = ["captions", "seeds", *(["latents"] if others else [])]
        given = ", ".join(f"{count} {name}" for count, name in zip(counts, names))
        raise ValueError(f"{given}: every image has one of each.")


def sampling_settings(steps: int, cfg, sampler: str, shift: float) -> SamplingSettings:
    """What the loop of either stage is told by; cfg: guidance scale, or (at t = 1, at t = 0)."""
    return SamplingSettings(steps, sampler, Guidance(cfg), CosineSchedule(shift=shift))


@paddle.no_grad()
def run_sampling(
    network, inputs: SamplingInputs, shape, seeds, purpose, settings: SamplingSettings, progress=True, blame=str
):
    """Run the loop to its end: the last predicted clean latents (B, *shape), float32.

    `purpose` names the stage on the progress bar, in errors and as the stream of random numbers. FloatingPointError at
    the first step whose latent is not finite, with what `blame()` says of the cause.
    """
    settings = replace(settings, t_start=inputs.t_start)
    noise = NoiseStream(seeds, purpose)
    steps = sample(network, inputs.conditions, inputs.unconditional, shape, noise, settings, inputs.x_init)
    for step in tqdm(steps, total=settings.num_steps, desc=purpose, disable=not progress, leave=False):
        check_finite(step.x0, f"{purpose}, step {step.index + 1} of {settings.num_steps}: the latent", blame)
    return step.x0


def to_uint8(images, what: str = "A decoded image", blame=str) -> np.ndarray:
    """Images (B, 3, H, W), nominally in [0, 1] -> uint8 (B, H, W, 3).

    FloatingPointError for NaN and infinity, which would come out as black and white; it begins with `what` and ends
    with what `blame()` says of the cause. An image of one colour, black too, is an image.
    """
    images = images.astype("float32")
    check_finite(images, what, blame)
    pixels = (images.clip(0, 1) * 255).round().astype("uint8")
    return pixels.transpose([0, 2, 3, 1]).numpy()
