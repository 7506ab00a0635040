"""Training Stage B, the decoder, alone or together with the semantic encoder: its command line and its task."""

from dataclasses import dataclass, field
from functools import partial
from typing import Optional

import paddle

import config
from ldm.model_b import ModelB
from ldm.sizes import MINIMUM, TRAINING_FACTOR
from ldm.stage import evaluating
from ldm.training.arguments import DataArguments, check_at_least_one, check_shares
from ldm.training.collate import Collator
from ldm.training.data import open_dataset
from ldm.training.draws import DecoderDraws
from ldm.training.pictures import first_images, paired
from ldm.training.task import NetworkEntry, Task


@dataclass
class DecoderArguments:
    """Which decoder is trained and what it sees."""

    weights_path: str = field(default=config.WEIGHTS_PATH, metadata={"help": "release folder, official or converted"})
    model_version: str = field(default=config.model_b_version, metadata={"help": "decoder to train: 700M or 3B"})
    unet_path: Optional[str] = field(default=None, metadata={"help": "start from this decoder, not the release's"})
    train_encoder: bool = field(
        default=False, metadata={"help": "train the semantic encoder too: a new one, not that of a trained prior"}
    )
    encoder_scale_min: float = field(
        default=0.5, metadata={"help": "smallest side of what the encoder sees, as a share of the image's"}
    )
    encoder_scale_max: float = field(default=1.0, metadata={"help": "largest one; 0.75 is what the prior is used at"})
    encoder_resample: str = field(
        default="nearest", metadata={"help": "how the encoder's image is made smaller: nearest (release) or area"}
    )
    encoder_noise: float = field(
        default=0.0, metadata={"help": "standard deviation of noise on the encoder's latents; the release has none"}
    )
    pyramid_noise: bool = field(default=True, metadata={"help": "noise with coarser levels added, as in the release"})
    caption_dropout: float = field(default=0.05, metadata={"help": "share of captions replaced by the empty one"})
    num_inference_steps: int = field(default=10, metadata={"help": "sampling steps of the logged pictures"})

    def __post_init__(self):
        check_shares(self, "caption_dropout", "encoder_scale_min", "encoder_scale_max")
        check_at_least_one(self, "num_inference_steps")
        if self.encoder_resample not in ("nearest", "area"):
            raise ValueError(f"--encoder_resample must be nearest or area, got {self.encoder_resample!r}.")
        if not 0 < self.encoder_scale_min <= self.encoder_scale_max:
            raise ValueError(
                f"--encoder_scale_min {self.encoder_scale_min} must be above 0 and at most --encoder_scale_max "
                f"{self.encoder_scale_max}."
            )
        if self.encoder_noise < 0:
            raise ValueError(f"--encoder_noise must not be negative, got {self.encoder_noise}.")


@dataclass
class DecoderDataArguments(DataArguments):
    """DataArguments of the decoder."""

    resolution: int = field(default=1024, metadata={"help": "side of the training images in pixels: the output size"})
    random_crop: int = field(
        default=0,
        metadata={"help": "train on squares of so many pixels cut from them at random; 0: on the whole images"},
    )

    def __post_init__(self):
        self.check_resolution(8, MINIMUM)
        if self.random_crop and (self.random_crop % 8 or not 64 <= self.random_crop <= self.resolution):
            raise ValueError(
                f"--random_crop {self.random_crop}: must be a multiple of 8 from 64 to --resolution {self.resolution}."
            )


GROUPS = (DecoderArguments, DecoderDataArguments)


def build_task(model_args: DecoderArguments, data_args: DecoderDataArguments, args) -> Task:
    """Model and data put together. ValueError and OSError for anything wrong with the inputs."""
    dataset = open_dataset(data_args)
    model = ModelB(model_args.weights_path, model_args.model_version, "float32", model_args.unet_path)
    model.encoder_resample = model_args.encoder_resample
    networks = {"unet": NetworkEntry("stage_b", model.unet_config)}
    if model_args.train_encoder:
        networks["effnet"] = NetworkEntry("effnet", model.train_encoder())
    draw = DecoderDraws(
        c_latent=model.unet.c_in,
        c_encoder=model.encoder.c_latent,
        caption_dropout=model_args.caption_dropout,
        encoder_scale=(model_args.encoder_scale_min, model_args.encoder_scale_max),
        latent_noise=model_args.encoder_noise,
        pyramid=model_args.pyramid_noise,
        crop=data_args.random_crop,
    )
    picture = partial(_picture, model, dataset, model_args)
    return Task(model, dataset, Collator(model.frozen.text.tokenize), networks, draw, picture)


@paddle.no_grad()
def _picture(model: ModelB, dataset, model_args: DecoderArguments):
    """The first images beside what the decoder makes of their encodings."""
    images, captions = first_images(dataset), dataset.captions
    side, scale = images.shape[2], model_args.encoder_scale_max
    cells = max(1, int(side * scale / TRAINING_FACTOR))
    small = paddle.nn.functional.interpolate(images, size=[cells * TRAINING_FACTOR] * 2, mode="area")
    with evaluating(model):
        latent_c, steps = model.encoder.encode(small), model_args.num_inference_steps
        made, _ = model.log_image(latent_c, captions[: len(images)], side, side, seed=0, steps=steps, progress=False)
    return paired(images, made), {"shows": "image, reconstruction, ...", "seed": 0, "steps": steps}
