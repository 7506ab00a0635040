"""The random numbers of a training step, functions of (seed, step, sample): equal after a resume and on any rank."""

from dataclasses import dataclass

import numpy as np
import paddle

from ldm.diffusion.noise import NoiseStream, pyramid_noise
from ldm.diffusion.schedule import training_times
from ldm.sizes import AUTOENCODER_FACTOR, TRAINING_FACTOR

ENCODER_DROPOUT = 0.1  # share of Stage B's samples that see a zero latent (release)


@dataclass(frozen=True)
class Streams:
    """Where a step's random numbers come from: one stream per sample, and one that all samples share."""

    samples: NoiseStream
    step: NoiseStream


def streams(seed: int, step: int, micro_step: int, indices) -> Streams:
    """Streams for the samples `indices` at optimiser step `step`, accumulation step `micro_step`."""
    samples = [(seed, step, micro_step, int(index)) for index in indices]
    return Streams(NoiseStream(samples, "training"), NoiseStream([(seed, step, micro_step)], "training step"))


def dropout_seed(*parts: int) -> int:
    """Seed of the UNet's dropout masks in a step, from what identifies the step and the rank."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def no_draws(streams: Streams, batch: dict, times=None) -> dict:
    """For models without random numbers of their own."""
    return {}


def _grid(images, factor: int) -> list:
    return [-(-side // factor) for side in images.shape[2:]]


def random_crops(images, side: int, stream: NoiseStream):
    """Images (B, 3, H, W) -> (B, 3, side, side), cut at a place of its own from each."""
    height, width = images.shape[2:]
    tops, lefts = ((stream.uniform() * (length - side + 1)).astype("int64").tolist() for length in (height, width))
    return paddle.stack([images[i, :, y : y + side, x : x + side] for i, (y, x) in enumerate(zip(tops, lefts))])


@dataclass(frozen=True)
class PriorDraws:
    """ModelC's: which captions are dropped, which images are seen, noise times (B,) and noise (B, c, h, w)."""

    c_latent: int
    caption_dropout: float
    image_conditioning: float

    def __call__(self, streams: Streams, batch: dict, times=None) -> dict:
        stream = streams.samples
        caption_dropped = stream.uniform() < self.caption_dropout
        image_used = stream.uniform() < self.image_conditioning
        t = training_times(stream.uniform())
        epsilon = stream.normal((self.c_latent, *_grid(batch["images"], TRAINING_FACTOR)))
        return {
            "caption_dropped": caption_dropped,
            "image_used": image_used,
            "t": t if times is None else times,
            "epsilon": epsilon,
        }


@dataclass(frozen=True)
class DecoderDraws:
    """ModelB's: the encoder's scale (one per batch), whose latents are zero, their noise; times and noise.

    encoder_scale: (lowest, highest) side of what the encoder sees as a share of the image's; the release's is
    (0.5, 1). latent_noise: standard deviation of the noise on the encoder's latents. crop: train on squares of this
    side cut from the images at random (0: on the whole images), which takes the place of `images` in the batch.
    """

    c_latent: int
    c_encoder: int
    caption_dropout: float
    encoder_scale: tuple = (0.5, 1.0)
    latent_noise: float = 0.0
    pyramid: bool = False
    crop: int = 0

    def __call__(self, streams: Streams, batch: dict, times=None) -> dict:
        stream, (low, high) = streams.samples, self.encoder_scale
        images = random_crops(batch["images"], self.crop, stream) if self.crop else batch["images"]
        scale = low + (high - low) * float(streams.step.uniform())
        sides = [max(1, int(side * scale / TRAINING_FACTOR)) for side in images.shape[2:]]
        caption_dropped = stream.uniform() < self.caption_dropout
        encoder_dropped = stream.uniform() < ENCODER_DROPOUT
        t = training_times(stream.uniform())
        epsilon = stream.normal((self.c_latent, *_grid(images, AUTOENCODER_FACTOR)))
        noise = stream.normal((self.c_encoder, *sides)) * self.latent_noise
        return {
            "images": images,
            "caption_dropped": caption_dropped,
            "encoder_dropped": encoder_dropped,
            "encoder_noise": noise,
            "t": t if times is None else times,
            "epsilon": pyramid_noise(epsilon, stream) if self.pyramid else epsilon,
        }


@dataclass(frozen=True)
class QuantisedDraws:
    """ModelA's: which samples (B,) are decoded from the codebook's vectors, the others from the latent itself."""

    share: float

    def __call__(self, streams: Streams, batch: dict, times=None) -> dict:
        if times is not None:  # a fixed evaluation: the plain latent, as sampling uses it
            return {"quantised": paddle.zeros([batch["images"].shape[0]], dtype="bool")}
        return {"quantised": streams.samples.uniform() < self.share}


@dataclass(frozen=True)
class LatentNoiseDraws:
    """ModelPreviewer's: standard normal noise like the prior's latents (B, c, h, w)."""

    c_latent: int

    def __call__(self, streams: Streams, batch: dict, times=None) -> dict:
        shape = (self.c_latent, *_grid(batch["images"], TRAINING_FACTOR))
        return {"latent_noise": streams.samples.normal(shape)}
