"""What both stages share when they sample: captions to a batch, the loop with its progress bar, finished pixels."""

import numpy as np
import paddle
from tqdm.auto import tqdm

from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.sampling import SamplingSettings, sample


def caption_batch(captions, batch_size: int) -> list[str]:
    """One caption repeated, or a list of `batch_size` of them, as a list."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    if isinstance(captions, str):
        return [captions] * batch_size
    captions = list(captions)
    if len(captions) != batch_size:
        raise ValueError(f"{len(captions)} captions for a batch of {batch_size}: give one caption or {batch_size}.")
    return captions


@paddle.no_grad()
def run_sampling(network, conditions, unconditional, shape, seeds, purpose, settings: SamplingSettings, progress=True):
    """Run the loop to its end: the last predicted clean latents (B, *shape), float32.

    `purpose` names the stage on the progress bar, in errors and as the stream of random numbers.
    """
    steps = sample(network, conditions, unconditional, shape, NoiseStream(seeds, purpose), settings)
    for step in tqdm(steps, total=settings.num_steps, desc=purpose, disable=not progress, leave=False):
        check_finite(step.x0, f"{purpose}, step {step.index + 1} of {settings.num_steps}", network.dtype)
    return step.x0


def check_finite(latent, where: str, dtype):
    """FloatingPointError where a latent has NaN or infinity: an image made from it would silently be black."""
    if not bool(paddle.isfinite(latent).all()):
        raise FloatingPointError(
            f"{where}: the latent is not finite, computed in {str(dtype).rsplit('.', 1)[-1]}. "
            "Use --dtype bfloat16 or float32; if it is float32 already, the weights are damaged."
        )


def to_uint8(images) -> np.ndarray:
    """Images (B, 3, H, W), nominally in [0, 1] -> uint8 (B, H, W, 3)."""
    pixels = (images.astype("float32").clip(0, 1) * 255).round().astype("uint8")
    return pixels.transpose([0, 2, 3, 1]).numpy()
