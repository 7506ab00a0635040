"""Training the previewer: its command line and its task."""

from dataclasses import dataclass, field
from functools import partial

import config
from ldm.generation import to_uint8
from ldm.model_previewer import ModelPreviewer
from ldm.sizes import TRAINING_FACTOR
from ldm.stage import evaluating
from ldm.training.arguments import DataArguments
from ldm.training.collate import Collator
from ldm.training.data import open_dataset
from ldm.training.draws import LatentNoiseDraws
from ldm.training.pictures import first_images, paired
from ldm.training.task import NetworkEntry, Task


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
    latent_noise: float = field(
        default=0.0, metadata={"help": "standard deviation of noise on the latents that it is trained on"}
    )

    def __post_init__(self):
        if self.latent_noise < 0:
            raise ValueError(f"--latent_noise must not be negative, got {self.latent_noise}.")


@dataclass
class PreviewerDataArguments(DataArguments):
    """DataArguments of the previewer."""

    resolution: int = field(default=768, metadata={"help": "training crop in pixels, as for the prior"})

    def __post_init__(self):
        self.check_resolution(TRAINING_FACTOR, 2 * TRAINING_FACTOR)


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
        draw=LatentNoiseDraws(model.frozen.effnet.c_latent),
        picture=partial(_picture, model, dataset),
    )


def _picture(model: ModelPreviewer, dataset):
    """The first images beside the previews of their latents."""
    images = first_images(dataset)
    with evaluating(model):
        return paired(images, to_uint8(model.preview(images))), {"shows": "image, preview, ..."}
