"""Training Stage A, the VQ autoencoder: model, command line and task."""

from dataclasses import dataclass, field

import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm import config
from ldm.generation.sampling import to_uint8
from ldm.stage import evaluating
from ldm.training.batches.data import open_dataset
from ldm.training.batches.draws import QuantisedDraws
from ldm.training.batches.loader import Collator
from ldm.training.flags.data import DataArguments
from ldm.training.flags.values import SHARE, Range, check_values, number
from ldm.training.task import NetworkEntry, Task
from ldm.training.watching.pictures import SHOWN, Pictures, first_images, weights_stamp
from ldm.weights.release import Release, network_config


class ModelA(nn.Layer):
    """The VQ autoencoder of a release folder, to be trained; the state dict holds it as `stage_a.*`.

    The release was also trained with adversarial and perceptual losses; those need networks that no package on PyPI
    carries, so the loss here is squared error and the codebook's (VQ-VAE, arXiv:1711.00937).
    """

    def __init__(self, weights_path, codebook_weight: float = 0.1):
        super().__init__()
        self.release = release = Release(weights_path)
        self.network_config = network_config(release.file("stage_a"), "stage_a")
        self.stage_a = release.load("stage_a")
        self.codebook_weight = codebook_weight

    def forward(self, images, quantised):
        """images (B, 3, S, S) in [0, 1]; quantised (B,) bool: decoded from the codebook's vectors -> loss ().

        The decoder must do both: its codebook makes the latent robust, and Stage B hands it unquantised latents.
        """
        latent = self.stage_a.encode(images)
        coded, codebook_loss = self.stage_a.quantize(latent)
        chosen = paddle.where(quantised.reshape([-1, 1, 1, 1]), coded, latent)
        return F.mse_loss(self.stage_a.decode(chosen), images) + self.codebook_weight * codebook_loss

    @paddle.no_grad()
    def reconstruct(self, images):
        """Images (B, 3, S, S) -> through the autoencoder and back, unquantised, same shape."""
        return self.stage_a.decode(self.stage_a.encode(images))


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
        files=(model.release.file("stage_a"),),
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
