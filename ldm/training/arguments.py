"""The command line of train_stage_c_trainer.py: what PaddleNLP's TrainingArguments lacks, and what it would ignore."""

from dataclasses import dataclass, field, fields
from typing import Optional

import paddle
from paddlenlp.trainer import PdArgumentParser, TrainingArguments

import config
from ldm.release import check_device_dtype
from ldm.sizes import TRAINING_FACTOR, output_size_of_training

SMALLEST_RESOLUTION = 2 * TRAINING_FACTOR


@dataclass
class ModelArguments:
    """Which prior is trained and what it is conditioned on."""

    weights_path: str = field(default=config.WEIGHTS_PATH, metadata={"help": "release folder, official or converted"})
    model_version: str = field(default=config.model_c_version, metadata={"help": "prior to train: 1B or 3.6B"})
    unet_path: Optional[str] = field(default=None, metadata={"help": "start from this prior instead of the release's"})
    model_max_length: int = field(default=77, metadata={"help": "tokens per caption, at most 77"})
    caption_dropout: float = field(default=0.05, metadata={"help": "share of captions replaced by the empty one"})
    image_conditioning: float = field(
        default=0.1, metadata={"help": "share of samples that see their CLIP image embedding"}
    )

    def __post_init__(self):
        for name in ("caption_dropout", "image_conditioning"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"--{name} must be between 0 and 1, got {getattr(self, name)}.")


@dataclass
class DataArguments:
    """What it is trained on."""

    dataset_path: str = field(
        default="dataset/photos", metadata={"help": "image-text folder: NAME.jpg beside NAME.txt"}
    )
    resolution: int = field(
        default=768, metadata={"help": "training crop in pixels; 768 teaches what is generated at 1024 (x 4/3)"}
    )

    def __post_init__(self):
        if self.resolution < SMALLEST_RESOLUTION or self.resolution % TRAINING_FACTOR:
            raise ValueError(
                f"--resolution {self.resolution}: must be a multiple of {TRAINING_FACTOR}, at least {SMALLEST_RESOLUTION} "
                f"(768 corresponds to generating at {output_size_of_training(768)})."
            )


@dataclass
class CascadeTrainingArguments(TrainingArguments):
    """PaddleNLP's arguments, refused where a value could not take effect."""

    per_device_train_batch_size: int = field(default=1, metadata={"help": "images per device and step"})
    learning_rate: float = field(default=1e-4, metadata={"help": "peak learning rate"})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's, on every parameter as in the release"})
    lr_scheduler_type: str = field(default="constant_with_warmup", metadata={"help": "linear, cosine, constant, ..."})
    warmup_steps: int = field(default=1, metadata={"help": "steps of linear warm-up"})
    image_logging_steps: int = field(default=0, metadata={"help": "a picture every so many steps; 0: none"})
    image_logging_caption: Optional[str] = field(
        default=None, metadata={"help": "caption of the logged pictures; default: the first of the dataset"}
    )
    image_logging_size: int = field(
        default=0, metadata={"help": "output size of the logged pictures; 0: that of --resolution"}
    )
    ddp_find_unused_parameters: bool = field(
        default=False, metadata={"help": "every parameter of the prior is used in every step"}
    )
    ema_decay: float = field(
        default=0.0, metadata={"help": "keep a running average of the weights, for instance 0.999; 0: none"}
    )
    num_inference_steps: int = field(default=20, metadata={"help": "sampling steps of the logged pictures"})

    def __post_init__(self):
        self.check_before_parsing()
        super().__post_init__()

    def check_before_parsing(self):
        """ValueError for every flag that could not be honoured, with what to do instead."""
        at_least_one = (
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "num_inference_steps",
            "logging_steps",
        )
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}.")
        if self.fp16_opt_level not in ("O1", "O2"):
            raise ValueError(f"--fp16_opt_level must be O1 or O2, got {self.fp16_opt_level!r}.")
        for flag in ("fp16", "bf16"):
            if getattr(self, flag) and paddle.get_device() == "cpu":
                raise ValueError(
                    f"--{flag} needs a GPU: Paddle has no half-precision training on a CPU. Leave the flag out here."
                )
        if self.lr_scheduler_type == "constant" and (self.warmup_steps > 0 or self.warmup_ratio > 0):
            raise ValueError(
                "--lr_scheduler_type constant ignores warm-up: use constant_with_warmup, or --warmup_steps 0."
            )
        if self.dataloader_num_workers < 0 or self.image_logging_steps < 0:
            raise ValueError("--dataloader_num_workers and --image_logging_steps must not be negative.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema_decay must be in [0, 1), got {self.ema_decay}.")
        if self.do_eval or self.do_predict:
            raise ValueError(
                "--do_eval and --do_predict are not part of this script: look at the logged pictures instead."
            )


def parse_arguments(argv=None):
    """Command line -> (ModelArguments, DataArguments, CascadeTrainingArguments); ValueError for what is refused."""
    parser = PdArgumentParser((ModelArguments, DataArguments, CascadeTrainingArguments))
    model, data, training = parser.parse_args_into_dataclasses(argv)
    check_device_dtype("float32")
    return model, data, training


def resolved(*argument_groups) -> dict:
    """Every option as it was finally used, to be saved with the run."""
    return {f.name: getattr(group, f.name) for group in argument_groups for f in fields(group)}
