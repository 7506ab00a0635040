"""Training the previewer: its command line and its task."""

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from ldm import config
from ldm.generation.sampling import to_uint8
from ldm.sizes import TRAINING_FACTOR, training_size_of_output
from ldm.stage import evaluating
from ldm.training.batches.data import open_dataset
from ldm.training.batches.draws import LatentNoiseDraws, Squares
from ldm.training.batches.loader import Collator
from ldm.training.flags.data import SquaresDataArguments
from ldm.training.flags.values import SIDE, Range, check_values, number
from ldm.training.task import NetworkEntry, Task
from ldm.training.tasks.model_previewer import ModelPreviewer
from ldm.training.watching.pictures import SHOWN, Pictures, first_images, weights_stamp


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
class PreviewerDataArguments(SquaresDataArguments):
    """DataArguments of the previewer."""

    default_resolution: ClassVar[int] = 768
    crop_multiple: ClassVar[int] = TRAINING_FACTOR

    resolution: Optional[int] = number(None, SIDE, "training crop in pixels, as for the prior; default: 768")

    def __post_init__(self):
        check_values(self)
        self.check_resolution(TRAINING_FACTOR, 2 * TRAINING_FACTOR)
        self.check_squares()

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
        draw=LatentNoiseDraws(model.frozen.effnet.c_latent, _squares(data_args)),
        pictures=[_pictures(model, dataset)],
    )


def _squares(data_args: PreviewerDataArguments) -> Optional[Squares]:
    """What --random_crop cuts, anywhere."""
    return Squares(data_args.random_crop, data_args.resolution, step=1) if data_args.random_crop else None


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
