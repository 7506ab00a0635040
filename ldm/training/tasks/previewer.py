"""Training the previewer, which shows what the prior's latents mean: model, command line and task."""

from dataclasses import dataclass, field
from typing import ClassVar, Optional

import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm import config
from ldm.common.precision import float32_region
from ldm.features import crop_at_corners
from ldm.frozen import Frozen
from ldm.generation.sampling import to_uint8
from ldm.sizes import TRAINING_FACTOR, training_size_of_output
from ldm.stage import evaluating
from ldm.training.batch_norms import variance
from ldm.training.batches.data import open_dataset
from ldm.training.batches.draws import LatentNoiseDraws, RandomCrop
from ldm.training.batches.loader import Collator
from ldm.training.flags.data import RandomCropDataArguments
from ldm.training.flags.values import SIDE, Range, check_values, number
from ldm.training.task import NetworkEntry, Task
from ldm.training.watching.pictures import SHOWN, Pictures, first_images, weights_stamp
from ldm.weights.release import Release, network_config

UPSCALING = 8  # pixels of a preview per cell of a latent


class ModelPreviewer(nn.Layer):
    """The previewer of a release folder behind its encoder; the state dict holds it as `previewer.*`.

    With `train_encoder` the two are a small plain autoencoder: the quickest way to latents that mean something.

    noise: standard deviation of what is added to the latents, in units of each channel's own in the batch: latents of a
    prior, which errs, are shown as well, and the encoder learns a code in which small errors are small in the picture.
    That unit is differentiated too: taken for a constant it makes larger latents look better, and they grow without end.
    """

    def __init__(self, weights_path, noise: float = 0.0):
        super().__init__()
        release = Release(weights_path)
        self.frozen, self.noise = Frozen(release), noise
        self.network_config = network_config(release.file("previewer"), "previewer")
        self.previewer = release.load("previewer")

    def train_encoder(self) -> dict:
        """Train the semantic encoder along, no longer the frozen one; its constructor arguments."""
        self.effnet, config = self.frozen.encoder_to_train()
        return config

    @property
    def encoder(self) -> nn.Layer:
        """The semantic encoder in use: the one that is trained along, `effnet.*` of the state dict, else the frozen one."""
        return self.effnet if "effnet" in self._sub_layers else self.frozen.effnet

    def encode(self, images):
        """Images (B, 3, S, S) in [0, 1] -> latents (B, 16, S / 32, S / 32)."""
        with float32_region():
            return self.encoder.encode(images)

    def forward(self, images, latent_noise, corners=None):
        """images (B, 3, S, S) in [0, 1], latent_noise (B, 16, S / 32, S / 32) standard normal -> loss ().

        corners (B, 2): train on the squares with these top left corners, in pixels, that latent_noise is for.
        """
        if corners is not None:
            images = crop_at_corners(images, corners, TRAINING_FACTOR * latent_noise.shape[2])
        latents = self.encode(images)
        target = F.interpolate(images, size=[UPSCALING * side for side in latents.shape[2:]], mode="area")
        deviation = (variance(latents, keepdim=True) + 1e-8).sqrt()  # its slope is finite at 0
        return F.mse_loss(self.previewer(latents + self.noise * deviation * latent_noise), target)

    @paddle.no_grad()
    def preview(self, images):
        """Images (B, 3, S, S) -> previews of their latents (B, 3, S / 4, S / 4)."""
        return self.previewer(self.encode(images))


@dataclass
class PreviewerArguments:
    """Which previewer is trained, behind which encoder."""

    weights_path: str = field(
        default=config.WEIGHTS_PATH, metadata={"help": "release folder with effnet_encoder and previewer"}
    )
    train_encoder: bool = field(
        default=False,
        metadata={"help": "train the semantic encoder too, from nothing: a plain autoencoder of small images"},
    )
    latent_noise: float = number(
        0.0, Range(0, 100), "noise on the latents that it is trained on, as a share of their standard deviation"
    )

    def __post_init__(self):
        check_values(self)


@dataclass
class PreviewerDataArguments(RandomCropDataArguments):
    """DataArguments of the previewer."""

    default_resolution: ClassVar[int] = 768
    crop_multiple: ClassVar[int] = TRAINING_FACTOR

    resolution: Optional[int] = number(None, SIDE, "training crop in pixels, as for the prior; default: 768")

    def __post_init__(self):
        check_values(self)
        self.check_resolution(TRAINING_FACTOR, 2 * TRAINING_FACTOR)
        self.check_random_crop()

    def pixels_of_output(self, output_size):
        return training_size_of_output(output_size)


GROUPS = (PreviewerArguments, PreviewerDataArguments)


def build_task(model_args: PreviewerArguments, data_args: PreviewerDataArguments, args) -> Task:
    """Model and data put together. ValueError and OSError for anything wrong with the inputs."""
    dataset = open_dataset(data_args)
    model = ModelPreviewer(model_args.weights_path, model_args.latent_noise)
    networks = {"previewer": NetworkEntry("previewer", model.network_config)}
    if model_args.train_encoder:
        networks["effnet"] = NetworkEntry("effnet", model.train_encoder())
    return Task(
        model=model,
        dataset=dataset,
        collate=Collator(),
        networks=networks,
        draw=LatentNoiseDraws(model.frozen.effnet.c_latent, _random_crop(data_args)),
        pictures=[_pictures(model, dataset)],
        encoder=model.encoder if model_args.train_encoder else None,
        frozen=model.frozen,
        files=(model.frozen.release.file("previewer"),),
    )


def _random_crop(data_args: PreviewerDataArguments) -> Optional[RandomCrop]:
    """What --random_crop cuts, anywhere."""
    return RandomCrop(data_args.random_crop, data_args.resolution, step=1) if data_args.random_crop else None


def _pictures(model: ModelPreviewer, dataset) -> Pictures:
    """The first images and the previews of their latents."""

    def make():
        with evaluating(model):
            return to_uint8(model.preview(first_images(dataset)))

    files = [model.frozen.release.file(kind) for kind in ("previewer", "effnet")]
    return Pictures(
        title="Images and the previews of their latents",
        rows=dataset.captions[:SHOWN],
        make=make,
        settings={"base": [weights_stamp(path) for path in files], "size": dataset.resolution},
        originals=lambda: to_uint8(first_images(dataset)),
    )
