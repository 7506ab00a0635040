"""Command lines of the trainers: what PaddleNLP's TrainingArguments lacks, and refusals of what it would ignore."""

from dataclasses import dataclass, field, fields

import paddle
from paddlenlp.trainer import PdArgumentParser, TrainingArguments

from ldm.release import check_device_dtype


@dataclass
class DataArguments:
    """What is trained on. A trainer's own subclass sets the default resolution and what it must divide by."""

    dataset_path: str = field(
        default="dataset/photos", metadata={"help": "image-text folder: NAME.jpg beside NAME.txt"}
    )
    resolution: int = field(default=256, metadata={"help": "side of the training images in pixels"})
    check_images: bool = field(
        default=True, metadata={"help": "read every image before training, so that a damaged one is found at once"}
    )

    def check_resolution(self, multiple: int, smallest: int, note: str = ""):
        """ValueError unless `resolution` suits the network."""
        if self.resolution < smallest or self.resolution % multiple:
            raise ValueError(
                f"--resolution {self.resolution}: must be a multiple of {multiple}, at least {smallest}{note}."
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
    ddp_find_unused_parameters: bool = field(
        default=False, metadata={"help": "every parameter that is trained is used in every step"}
    )
    ema_decay: float = field(
        default=0.0, metadata={"help": "keep a running average of the weights, for instance 0.999; 0: none"}
    )

    batch_norm_momentum: float = field(
        default=0.9, metadata={"help": "how slowly the running statistics follow the batches'; 0.99 for small batches"}
    )
    freeze_batch_norm: bool = field(
        default=False, metadata={"help": "normalise by the running statistics, which then stay as they are"}
    )

    def __post_init__(self):
        self.check_before_parsing()
        super().__post_init__()

    def check_before_parsing(self):
        """ValueError for every flag that could not be honoured, with what to do instead."""
        check_at_least_one(self, "per_device_train_batch_size", "gradient_accumulation_steps", "logging_steps")
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
        if not 0 <= self.batch_norm_momentum < 1:
            raise ValueError(f"--batch_norm_momentum must be in [0, 1), got {self.batch_norm_momentum}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema_decay must be in [0, 1), got {self.ema_decay}.")
        if self.do_eval or self.do_predict:
            raise ValueError(
                "--do_eval and --do_predict are not part of this script: look at the logged pictures instead."
            )


def check_at_least_one(arguments, *names):
    """ValueError for a count below 1."""
    for name in names:
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(arguments, name)}.")


def check_shares(arguments, *names):
    """ValueError for a probability outside [0, 1]."""
    for name in names:
        if not 0 <= getattr(arguments, name) <= 1:
            raise ValueError(f"--{name} must be between 0 and 1, got {getattr(arguments, name)}.")


def parse_into(groups, argv=None):
    """Command line -> one object per dataclass of `groups` and CascadeTrainingArguments; ValueError for what is refused."""
    *parsed, training = PdArgumentParser((*groups, CascadeTrainingArguments)).parse_args_into_dataclasses(argv)
    check_device_dtype("float32")
    if not training.do_train:
        raise ValueError("Nothing to do: add --do_train.")
    return (*parsed, training)


def resolved(*argument_groups) -> dict:
    """Every option as it was finally used, to be saved with the run."""
    return {f.name: getattr(group, f.name) for group in argument_groups for f in fields(group)}
