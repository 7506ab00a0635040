"""Training Stage A, the VQ autoencoder: its command line and its task."""

from dataclasses import dataclass, field

from ldm import config
from ldm.generation.sampling import to_uint8
from ldm.stage import evaluating
from ldm.training.batches.data import open_dataset
from ldm.training.batches.draws import QuantisedDraws
from ldm.training.batches.loader import Collator
from ldm.training.flags.data import DataArguments
from ldm.training.flags.values import SHARE, Range, check_values, number
from ldm.training.task import NetworkEntry, Task
from ldm.training.tasks.model_a import ModelA
from ldm.training.watching.pictures import SHOWN, Pictures, first_images, weights_stamp
from ldm.weights.release import Release


@dataclass
class AutoencoderArguments:
    """Which Stage A is trained, and its loss."""

    weights_path: str = field(default=config.WEIGHTS_PATH, metadata={"help": "release folder with stage_a.safetensors"})
    codebook_weight: float = number(0.1, Range(0, 10**6), "weight of the codebook's loss beside the image's")
    quantised_share: float = number(
        0.5, SHARE, "share of samples decoded from codebook vectors, the rest from plain latents"
    )

    def __post_init__(self):
        check_values(self)


@dataclass
class AutoencoderDataArguments(DataArguments):
    """DataArguments of Stage A."""

    def __post_init__(self):
        check_values(self)
        self.check_resolution(8, 32)


GROUPS = (AutoencoderArguments, AutoencoderDataArguments)


def build_task(model_args: AutoencoderArguments, data_args: AutoencoderDataArguments, args) -> Task:
    """Model and data put together. ValueError and OSError for anything wrong with the inputs."""
    dataset = open_dataset(data_args)
    model = ModelA(model_args.weights_path, model_args.codebook_weight)
    return Task(
        model=model,
        dataset=dataset,
        collate=Collator(),
        networks={"stage_a": NetworkEntry("stage_a", model.network_config)},
        draw=QuantisedDraws(model_args.quantised_share),
        pictures=[_pictures(model, dataset, model_args)],
    )


def _pictures(model: ModelA, dataset, model_args: AutoencoderArguments) -> Pictures:
    """The first images and their reconstructions."""

    def make():
        with evaluating(model):
            return to_uint8(model.reconstruct(first_images(dataset)))

    base = weights_stamp(Release(model_args.weights_path).file("stage_a"))
    return Pictures(
        title="Stage A: images encoded and decoded",
        rows=dataset.captions[:SHOWN],
        make=make,
        settings={"base": base, "size": dataset.resolution},
        originals=lambda: to_uint8(first_images(dataset)),
    )
