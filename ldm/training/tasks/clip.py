"""Training a pair of CLIP towers on captioned images: its command line and its task."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import numpy as np

from ldm import config
from ldm.clip.encoders import TextEncoder
from ldm.clip.pair import ClipPair
from ldm.clip.tokenizer import load_tokenizer
from ldm.clip.tower import tower_config
from ldm.training.batches.data import open_dataset
from ldm.training.batches.loader import Collator
from ldm.training.flags.data import DataArguments
from ldm.training.flags.values import SIDE, Range, check_values, number
from ldm.training.task import NetworkEntry, Task
from ldm.training.tasks.hard_negatives import HardNegatives


@dataclass
class ClipArguments:
    """Which pair is trained."""

    weights_path: str = field(
        default=config.WEIGHTS_PATH, metadata={"help": "release folder with text_encoder, image_encoder and tokenizer"}
    )
    negative_words: Optional[list[str]] = field(
        default=None,
        metadata={
            "help": "JSON files of groups of words: each image must also tell its caption from ones with a word of a group "
            "replaced, or two swapped; the first file with a word of the caption is used"
        },
    )
    negatives: int = number(2, Range(1, 1000), "such wrong captions for each image")

    def __post_init__(self):
        check_values(self)
        if self.negatives != 2 and not self.negative_words:
            raise ValueError(f"--negatives {self.negatives} is for --negative_words: name its files, or leave it out.")


@dataclass
class ClipDataArguments(DataArguments):
    """DataArguments of the pair: the image tower says what size it takes."""

    resolution: int = number(0, Range(0, SIDE.high), "0: what the image tower takes; nothing else can be asked")

    def __post_init__(self):
        check_values(self)
        if self.resolution:
            raise ValueError(f"--resolution {self.resolution}: leave it out, the image tower's config.json decides.")


GROUPS = (ClipArguments, ClipDataArguments)


def build_task(model_args: ClipArguments, data_args: ClipDataArguments, args) -> Task:
    """Model and data put together. ValueError and OSError for anything wrong with the inputs."""
    if args.per_device_train_batch_size < 2:
        raise ValueError("--per_device_train_batch_size must be 2 or more: a caption is told from the batch's others.")
    dataset = open_dataset(data_args)
    names = (config.text_encoder_name, config.image_encoder_name, config.tokenizer_name)
    model = ClipPair.from_folder(model_args.weights_path, *names)
    dataset.resolution = dataset.clip_size = model.image.config.image_size
    tokenize = TextEncoder(model.text, load_tokenizer(Path(model_args.weights_path) / config.tokenizer_name)).tokenize
    networks = {
        name: NetworkEntry(f"{name}_encoder", tower_config(tower))
        for name, tower in (("text", model.text), ("image", model.image))
    }
    return Task(
        model, dataset, Collator(tokenize, images=False, wrong=_wrong_captions(model_args, args.seed)), networks
    )


def _wrong_captions(model_args: ClipArguments, seed: int):
    """(caption, index of the sample) -> wrong captions, always the same ones; None without --negative_words."""
    if not model_args.negative_words:
        return None
    files = [HardNegatives.from_file(path) for path in model_args.negative_words]

    def wrong(caption: str, index: int) -> list[str]:
        words = next((words for words in files if words.pattern.search(caption)), files[-1])
        return words.make(caption, model_args.negatives, np.random.default_rng([seed, index]))

    return wrong
