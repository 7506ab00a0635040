"""Training Stage C, the prior: its command line and its task."""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Optional

from ldm import config
from ldm.data.captions import read_captions
from ldm.model_c import ModelC
from ldm.sizes import MINIMUM, TRAINING_FACTOR, output_size_of_training, training_size_of_output
from ldm.training.batches.data import open_dataset
from ldm.training.batches.draws import PriorDraws
from ldm.training.batches.loader import Collator
from ldm.training.flags.data import DataArguments
from ldm.training.flags.values import EVERY, SHARE, SIDE, STEPS, Range, check_values, number
from ldm.training.task import Task
from ldm.training.tasks.method import MethodArguments, apply_method
from ldm.training.watching.full_pictures import DECODER_STEPS, FullImages, decoder_files
from ldm.training.watching.pictures import Pictures, weights_stamp
from ldm.weights.release import OUTPUT_SIZE_KEY

AT_ONCE = 4  # previews sampled together


@dataclass
class PriorArguments(MethodArguments):
    """Which prior is trained, by which method, and what it is conditioned on."""

    weights_path: str = field(default=config.WEIGHTS_PATH, metadata={"help": "release folder, official or converted"})
    model_version: str = field(default=config.model_c_version, metadata={"help": "prior to train: 1B or 3.6B"})
    unet_path: Optional[str] = field(default=None, metadata={"help": "start from this prior instead of the release's"})
    model_max_length: Optional[int] = number(
        None, STEPS, "tokens per caption; default: what the text encoder takes, 77 in the release"
    )
    feature_cache: Optional[str] = field(
        default=None, metadata={"help": "folder that scripts/cache_features.py wrote: train without the encoders"}
    )
    caption_dropout: float = number(0.05, SHARE, "share of captions replaced by the empty one")
    image_conditioning: float = number(0.1, SHARE, "share of samples that see their CLIP image embedding")
    image_logging_caption: Optional[str] = field(
        default=None, metadata={"help": "the one caption of the logged pictures; default: the first of the dataset"}
    )
    image_logging_captions: Optional[list[str]] = field(
        default=None,
        metadata={
            "help": "captions of the logged pictures, or .txt files of one a line; number i always has seed i. A single "
            "one is shown with two seeds",
            "may_be_empty": True,
        },
    )
    full_image_logging_steps: int = number(
        0,
        EVERY,
        "the same captions as finished images, through the decoder, every so many steps; 0: never. Only then the decoder is "
        "in memory: in float32 2.8 GB for 700M, 6.3 GB for 3B, half with --fp16 or --bf16",
    )
    image_logging_size: int = number(
        0, Range(MINIMUM, SIDE.high, also=(0,)), "output size of the logged pictures; 0: that of --resolution"
    )
    num_inference_steps: int = number(20, Range(1, 1000), "sampling steps of the logged pictures")

    def __post_init__(self):
        check_values(self)
        self.check_method()
        if self.learn_tokens and self.feature_cache:
            raise ValueError(
                "--learn_tokens needs the text encoder in every step, --feature_cache runs without it: leave one out."
            )
        if self.image_logging_caption and self.image_logging_captions:
            raise ValueError("--image_logging_caption and --image_logging_captions: leave one of them out.")
        given = self.image_logging_captions or []
        self.image_logging_captions = read_captions(given, "--image_logging_captions", may_be_empty=True)

    def check_pictures(self, image_logging_steps: int):
        """ValueError for flags of the logged pictures where none are logged."""
        names = ("image_logging_caption", "image_logging_captions", "image_logging_size")
        asked = next((name for name in names if getattr(self, name)), None)
        if asked and not (image_logging_steps or self.full_image_logging_steps):
            raise ValueError(f"--{asked} is for logged pictures: add --image_logging_steps 100, or leave it out.")


@dataclass
class PriorDataArguments(DataArguments):
    """DataArguments of the prior."""

    default_resolution: ClassVar[int] = 768

    resolution: Optional[int] = number(
        None, SIDE, "training crop in pixels; 768, the default, teaches what is generated at 1024 (x 4/3)"
    )

    def __post_init__(self):
        check_values(self)
        note = f" (768 corresponds to generating at {output_size_of_training(768)})"
        self.check_resolution(TRAINING_FACTOR, 2 * TRAINING_FACTOR, note)

    def pixels_of_output(self, output_size):
        return training_size_of_output(output_size)

    def described_sizes(self):
        cells, output_size = self.resolution // TRAINING_FACTOR, output_size_of_training(self.resolution)
        return (
            f"training pixels {self.resolution}, latents {cells} x {cells}, for generating at {output_size} px (x 4/3)"
        )


GROUPS = (PriorArguments, PriorDataArguments)


def build_task(model_args: PriorArguments, data_args: PriorDataArguments, args) -> Task:
    """Model and data put together. ValueError and OSError for anything wrong with the inputs."""
    output_size = output_size_of_training(data_args.resolution)
    with_decoder = model_args.full_image_logging_steps > 0
    files = decoder_files(model_args.weights_path, config.model_b_version) if with_decoder else []
    data = (_from_cache if model_args.feature_cache else _from_images)(model_args, data_args)
    model, dataset = data["model"], data["dataset"]
    networks = apply_method(model, model_args, args.seed, {OUTPUT_SIZE_KEY: str(output_size)})
    size = max(MINIMUM, model_args.image_logging_size or output_size)
    return Task(
        **data,
        networks=networks,
        draw=PriorDraws(model.unet.c_in, model_args.caption_dropout, model_args.image_conditioning),
        pictures=_pictures(model, shown_captions(model_args, dataset), size, model_args, args, files),
        stage=model,
        frozen=model.frozen,
        files=(model.unet_path,),
        max_tokens=model_args.model_max_length,
        less_memory=("--method lora",) if model_args.method == "full" else (),
    )


def _from_images(model_args: PriorArguments, data_args: PriorDataArguments) -> dict:
    """The parts of a Task that differ where the encoders run in every step."""
    dataset = open_dataset(data_args)
    model = ModelC(model_args.weights_path, model_args.model_version, "float32", model_args.unet_path)
    model.features.prepare(model.frozen, dataset)
    tokenize = partial(model.frozen.text.tokenize, max_length=model_args.model_max_length)
    tokenize([""])  # refuses a --model_max_length that the towers cannot take
    return {"model": model, "dataset": dataset, "collate": Collator(tokenize), "encode": model.encode_batch}


def _from_cache(model_args: PriorArguments, data_args: PriorDataArguments) -> dict:
    """The same where their results are read from a cache. Images are hashed, not decoded."""
    from ldm.training.batches.cached import parts_from_cache

    images = open_dataset(data_args, decode=False)
    return parts_from_cache(
        ModelC, ModelC.features, model_args, images, model_args.model_max_length, data_args.trust_mtime
    )


def shown_captions(model_args: PriorArguments, dataset) -> list[str]:
    """The captions of the logged pictures; a single one twice, so that two seeds are seen."""
    captions = model_args.image_logging_captions or [model_args.image_logging_caption or dataset.captions[0]]
    return captions if len(captions) > 1 else captions * 2


def _pictures(
    model: ModelC, captions: list, size: int, model_args: PriorArguments, args, decoder: list
) -> list[Pictures]:
    """Previews of the captions with fixed seeds and, where there are files of a decoder, the finished images."""
    steps = model_args.num_inference_steps

    def previews():
        parts = range(0, len(captions), AT_ONCE)
        made = [(captions[first : first + AT_ONCE], first) for first in parts]
        options = {"steps": steps, "progress": False}
        images = [
            model.log_image(some, size, size, batch_size=len(some), seed=seed, **options)[0] for some, seed in made
        ]
        return [image for batch in images for image in batch]

    rows = [f"{caption} (seed {seed})" for seed, caption in enumerate(captions)]
    settings = {"captions": captions, "base": weights_stamp(model.unet_path), "steps": steps, "size": size}
    pictures = [Pictures(f"Previews of {size} px images, {steps} steps", rows, previews, settings)]
    if decoder:
        dtype = "float16" if args.fp16 else "bfloat16" if args.bf16 else "float32"
        full = FullImages(model, config.model_b_version, dtype)
        pictures.append(
            Pictures(
                title=f"Finished images of {size} px, {steps} steps of the prior and {DECODER_STEPS} of the decoder",
                rows=rows,
                make=lambda: full(captions, size, steps),
                settings={
                    **settings,
                    "decoder_steps": DECODER_STEPS,
                    "decoder": [weights_stamp(path) for path in decoder],
                },
                name="full",
                every=model_args.full_image_logging_steps,
                using=full.loaded,
            )
        )
    return pictures
