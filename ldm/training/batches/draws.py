"""The random numbers of a training step, functions of (seed, step, sample): equal after a resume and on any rank."""

from dataclasses import dataclass
from typing import Optional

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


def _prior_grid(batch: dict) -> list:
    """Rows and columns of the prior's latents of a batch: those it holds, else those of its images."""
    return list(batch["latents"].shape[2:]) if "latents" in batch else _grid(batch["images"], TRAINING_FACTOR)


def _decoder_grid(batch: dict) -> list:
    """Rows and columns of Stage A's latents of a batch: those it holds, else those of its images."""
    return (
        list(batch["decoder_latents"].shape[2:])
        if "decoder_latents" in batch
        else _grid(batch["images"], AUTOENCODER_FACTOR)
    )


def _grid(images, factor: int) -> list:
    return [-(-side // factor) for side in images.shape[2:]]


@dataclass(frozen=True)
class RandomCrop:
    """Random square crops: `side` of `image` pixels, their corners at multiples of `step` pixels."""

    side: int
    image: int
    step: int

    def __post_init__(self):
        if self.side % self.step:
            raise ValueError(f"--random_crop {self.side}: these networks need a multiple of {self.step}.")

    def draw(self, stream: NoiseStream):
        """Corners (B, 2): top and left in pixels."""
        places = (self.image - self.side) // self.step + 1
        return paddle.stack([(stream.uniform() * places).astype("int64") for _ in range(2)], axis=1) * self.step


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
        epsilon = stream.normal((self.c_latent, *_prior_grid(batch)))
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
    (0.5, 1). latent_noise: standard deviation of the noise on the encoder's latents. crop: train on squares cut from
    the images (None: on the whole images).
    """

    c_latent: int
    c_encoder: int
    caption_dropout: float
    encoder_scale: tuple = (0.5, 1.0)
    latent_noise: float = 0.0
    pyramid: bool = False
    crop: Optional[RandomCrop] = None

    def __call__(self, streams: Streams, batch: dict, times=None) -> dict:
        stream, (low, high) = streams.samples, self.encoder_scale
        grid = _decoder_grid(batch)
        scale = low + (high - low) * float(streams.step.uniform())
        cells = [max(1, int(AUTOENCODER_FACTOR * side * scale / TRAINING_FACTOR)) for side in grid]
        caption_dropped = stream.uniform() < self.caption_dropout
        encoder_dropped = stream.uniform() < ENCODER_DROPOUT
        t = training_times(stream.uniform())
        crop = {"corners": self.crop.draw(stream)} if self.crop else {}
        epsilon = stream.normal((self.c_latent, *([self.crop.side // AUTOENCODER_FACTOR] * 2 if self.crop else grid)))
        noise = stream.normal((self.c_encoder, *cells)) * self.latent_noise
        return {
            **crop,
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
    """ModelPreviewer's: standard normal noise like the prior's latents (B, c, h, w). crop: as DecoderDraws'."""

    c_latent: int
    crop: Optional[RandomCrop] = None

    def __call__(self, streams: Streams, batch: dict, times=None) -> dict:
        stream = streams.samples
        if self.crop is None:
            return {"latent_noise": stream.normal((self.c_latent, *_grid(batch["images"], TRAINING_FACTOR)))}
        cells = self.crop.side // TRAINING_FACTOR
        return {"corners": self.crop.draw(stream), "latent_noise": stream.normal((self.c_latent, cells, cells))}
