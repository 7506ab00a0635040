"""Training Stage C, the prior: its command line and its task."""

from dataclasses import dataclass, field
from functools import partial
from typing import Optional

import config
from ldm.model_c import ModelC
from ldm.release import OUTPUT_SIZE_KEY
from ldm.sizes import MINIMUM, TRAINING_FACTOR, output_size_of_training
from ldm.training.arguments import DataArguments, check_at_least_one, check_shares
from ldm.training.collate import Collator
from ldm.training.data import open_dataset
from ldm.training.draws import PriorDraws
from ldm.training.task import NetworkEntry, Task

PICTURES = 2  # seeds of one caption in a look


@dataclass
class PriorArguments:
    """Which prior is trained and what it is conditioned on."""

    weights_path: str = field(default=config.WEIGHTS_PATH, metadata={"help": "release folder, official or converted"})
    model_version: str = field(default=config.model_c_version, metadata={"help": "prior to train: 1B or 3.6B"})
    unet_path: Optional[str] = field(default=None, metadata={"help": "start from this prior instead of the release's"})
    model_max_length: Optional[int] = field(
        default=None, metadata={"help": "tokens per caption; default: what the text encoder takes, 77 in the release"}
    )
    caption_dropout: float = field(default=0.05, metadata={"help": "share of captions replaced by the empty one"})
    image_conditioning: float = field(
        default=0.1, metadata={"help": "share of samples that see their CLIP image embedding"}
    )
    image_logging_caption: Optional[str] = field(
        default=None, metadata={"help": "caption of the logged pictures; default: the first of the dataset"}
    )
    image_logging_size: int = field(
        default=0, metadata={"help": "output size of the logged pictures; 0: that of --resolution"}
    )
    num_inference_steps: int = field(default=20, metadata={"help": "sampling steps of the logged pictures"})

    def __post_init__(self):
        check_shares(self, "caption_dropout", "image_conditioning")
        check_at_least_one(self, "num_inference_steps")


@dataclass
class PriorDataArguments(DataArguments):
    """DataArguments of the prior."""

    resolution: int = field(
        default=768, metadata={"help": "training crop in pixels; 768 teaches what is generated at 1024 (x 4/3)"}
    )

    def __post_init__(self):
        note = f" (768 corresponds to generating at {output_size_of_training(768)})"
        self.check_resolution(TRAINING_FACTOR, 2 * TRAINING_FACTOR, note)


GROUPS = (PriorArguments, PriorDataArguments)


def build_task(model_args: PriorArguments, data_args: PriorDataArguments, args) -> Task:
    """Model and data put together. ValueError and OSError for anything wrong with the inputs."""
    dataset = open_dataset(data_args)
    model = ModelC(model_args.weights_path, model_args.model_version, "float32", model_args.unet_path)
    dataset.clip_size = model.frozen.image.image_size
    tokenize = partial(model.frozen.text.tokenize, max_length=model_args.model_max_length)
    tokenize([""])  # refuses a --model_max_length that the towers cannot take

    grid, output_size = data_args.resolution // TRAINING_FACTOR, output_size_of_training(data_args.resolution)
    print(
        f"{len(dataset)} captioned images; crops of {data_args.resolution} px, latents of {grid} x {grid}, as "
        f"in images of {output_size} px."
    )
    size = max(MINIMUM, model_args.image_logging_size or output_size)
    caption = model_args.image_logging_caption or dataset.captions[0]
    return Task(
        model=model,
        dataset=dataset,
        collate=Collator(tokenize),
        networks={"unet": NetworkEntry("stage_c", model.unet_config, {OUTPUT_SIZE_KEY: str(output_size)})},
        draw=PriorDraws(model.unet.c_in, model_args.caption_dropout, model_args.image_conditioning),
        picture=partial(_picture, model, caption, size, model_args.num_inference_steps),
    )


def _picture(model: ModelC, caption: str, size: int, steps: int):
    """Previews of one caption with fixed seeds."""
    images, _ = model.log_image(caption, size, size, batch_size=PICTURES, seed=0, steps=steps, progress=False)
    return images, {"caption": caption, "seed": 0, "steps": steps, "size": size}
