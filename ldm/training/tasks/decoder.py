"""Training Stage B, the decoder, alone or together with the semantic encoder: its command line and its task."""

from dataclasses import dataclass, field
from typing import ClassVar, Optional

import paddle

from ldm import config
from ldm.data.dataset import ImageTextDataset
from ldm.features import DecoderFeatures
from ldm.generation.sampling import to_uint8
from ldm.model_b import ModelB
from ldm.sizes import AUTOENCODER_FACTOR, MINIMUM, TRAINING_FACTOR
from ldm.stage import evaluating
from ldm.training.batches.data import open_dataset
from ldm.training.batches.draws import DecoderDraws, RandomCrop
from ldm.training.batches.loader import Collator
from ldm.training.flags.data import RandomCropDataArguments
from ldm.training.flags.values import SHARE, SIDE, Range, check_values, number
from ldm.training.task import NetworkEntry, Task
from ldm.training.tasks.method import PartsArguments, choose_trained
from ldm.training.watching.pictures import SHOWN, Pictures, first_images, weights_stamp


@dataclass
class DecoderArguments(PartsArguments):
    """Which decoder is trained and what it sees."""

    weights_path: str = field(default=config.WEIGHTS_PATH, metadata={"help": "release folder, official or converted"})
    model_version: str = field(default=config.model_b_version, metadata={"help": "decoder to train: 700M or 3B"})
    unet_path: Optional[str] = field(default=None, metadata={"help": "start from this decoder, not the release's"})
    train_encoder: bool = field(
        default=False, metadata={"help": "train the semantic encoder too: a new one, not that of a trained prior"}
    )
    encoder_scale_min: float = number(
        0.5, Range(0, 1, above=True), "smallest side of what the encoder sees, as a share of the image's"
    )
    encoder_scale_max: float = number(1.0, Range(0, 1, above=True), "largest one; 0.75 is what the prior is used at")
    encoder_resample: str = field(
        default="nearest", metadata={"help": "how the encoder's image is made smaller: nearest (release) or area"}
    )
    encoder_noise: float = number(
        0.0, Range(0, 100), "standard deviation of noise on the encoder's latents; the release has none"
    )
    pyramid_noise: bool = field(default=True, metadata={"help": "noise with coarser levels added, as in the release"})
    feature_cache: Optional[str] = field(
        default=None,
        metadata={"help": "folder that scripts/cache_features.py --stage decoder wrote: train without the encoders"},
    )
    caption_dropout: float = number(0.05, SHARE, "share of captions replaced by the empty one")
    num_inference_steps: int = number(10, Range(1, 1000), "sampling steps of the logged pictures")

    def __post_init__(self):
        check_values(self)
        if self.encoder_resample not in ("nearest", "area"):
            raise ValueError(f"--encoder_resample must be nearest or area, got {self.encoder_resample!r}.")
        if self.encoder_scale_min > self.encoder_scale_max:
            raise ValueError(
                f"--encoder_scale_min {self.encoder_scale_min} must be at most --encoder_scale_max {self.encoder_scale_max}."
            )
        if self.feature_cache and self.train_encoder:
            raise ValueError(
                "--train_encoder changes what --feature_cache holds the results of: leave one of them out."
            )
        if self.feature_cache and self.encoder_scale_min != self.encoder_scale_max:
            raise ValueError(
                f"--feature_cache holds what the encoder sees at one scale: give --encoder_scale_min "
                f"{self.encoder_scale_min} and --encoder_scale_max {self.encoder_scale_max} the same value, the "
                "--encoder_scale of scripts/cache_features.py."
            )


@dataclass
class DecoderDataArguments(RandomCropDataArguments):
    """DataArguments of the decoder."""

    default_resolution: ClassVar[int] = 1024

    resolution: Optional[int] = number(
        None, SIDE, "side of the training images in pixels: the output size; default: 1024"
    )

    def __post_init__(self):
        check_values(self)
        self.check_resolution(8, MINIMUM)
        self.check_random_crop()


GROUPS = (DecoderArguments, DecoderDataArguments)


def build_task(model_args: DecoderArguments, data_args: DecoderDataArguments, args) -> Task:
    """Model and data put together. ValueError and OSError for anything wrong with the inputs."""
    images, data = (_from_cache if model_args.feature_cache else _from_images)(model_args, data_args)
    model = data["model"]
    choose_trained(model.unet, model_args.train_only, model_args.freeze)
    networks = {"unet": NetworkEntry("stage_b", model.unet_config)}
    if model_args.train_encoder:
        if model.unet.sees_preview:
            raise ValueError(
                f"--train_encoder: the decoder of {model.unet_path} is shown the previewer's picture of the latent, and a "
                "changed encoder needs another previewer: train both by scripts/train_previewer.py --train_encoder True first."
            )
        networks["effnet"] = NetworkEntry("effnet", model.train_encoder())
    draw = DecoderDraws(
        c_latent=model.unet.c_in,
        c_encoder=model.unet.effnet_mapper[0].weight.shape[0],  # without loading the encoder
        caption_dropout=model_args.caption_dropout,
        encoder_scale=(model_args.encoder_scale_min, model_args.encoder_scale_max),
        latent_noise=model_args.encoder_noise,
        pyramid=model_args.pyramid_noise,
        crop=_random_crop(model, data_args) if data_args.random_crop else None,
    )
    return Task(
        **data,
        networks=networks,
        draw=draw,
        pictures=[_pictures(model, images, model_args)],
        stage=model,
        encoder=model.encoder if model_args.train_encoder else None,
        frozen=model.frozen,
        files=(model.unet_path,),
    )


def _from_images(model_args: DecoderArguments, data_args: DecoderDataArguments) -> tuple[ImageTextDataset, dict]:
    """The images, and the parts of a Task that differ where the encoders run in every step."""
    images = open_dataset(data_args)
    model = ModelB(model_args.weights_path, model_args.model_version, "float32", model_args.unet_path)
    model.features = _features(model_args)
    collate = Collator(model.frozen.text.tokenize)
    return images, {"model": model, "dataset": images, "collate": collate, "encode": model.encode_batch}


def _from_cache(model_args: DecoderArguments, data_args: DecoderDataArguments) -> tuple[ImageTextDataset, dict]:
    """The same where their results are read from a cache. Images are hashed, and decoded for the logged pictures only."""
    from ldm.training.batches.cached import parts_from_cache

    images = open_dataset(data_args, decode=False)
    return images, parts_from_cache(ModelB, _features(model_args), model_args, images, None, data_args.trust_mtime)


def _features(model_args: DecoderArguments) -> DecoderFeatures:
    """What is asked of the encoders."""
    return DecoderFeatures(model_args.encoder_scale_min, model_args.encoder_resample)


def _random_crop(model: ModelB, data_args: DecoderDataArguments) -> RandomCrop:
    """What --random_crop cuts, at places where this decoder's patches begin. ValueError for a side it cannot take."""
    return RandomCrop(data_args.random_crop, data_args.resolution, AUTOENCODER_FACTOR * model.unet.patch_size)


def _pictures(model: ModelB, dataset, model_args: DecoderArguments) -> Pictures:
    """The first images and what the decoder makes of their encodings."""
    captions, side, steps = dataset.captions[:SHOWN], dataset.resolution, model_args.num_inference_steps
    cells = max(1, int(side * model_args.encoder_scale_max / TRAINING_FACTOR))

    @paddle.no_grad()
    def make():
        size = [cells * TRAINING_FACTOR] * 2
        small = paddle.nn.functional.interpolate(first_images(dataset), size=size, mode="area")
        with evaluating(model):
            latent_c = model.encoder.encode(small)
            return model.log_image(latent_c, captions, side, side, seed=0, steps=steps, progress=False)[0]

    around = ["effnet", *(["previewer"] if model.unet.sees_preview else [])]
    base = [weights_stamp(path) for path in [model.unet_path, *map(model.frozen.release.file, around)]]
    return Pictures(
        title=f"What the decoder makes of images' encodings in {steps} steps",
        rows=captions,
        make=make,
        settings={"base": base, "size": side, "cells": cells, "seed": 0, "steps": steps},
        originals=lambda: to_uint8(first_images(dataset)),
    )
