"""Command lines of the trainers: what PaddleNLP's TrainingArguments lacks, and refusals of what it would ignore."""

from dataclasses import dataclass, field, fields
from typing import Optional

import paddle
from paddlenlp.trainer import TrainingArguments
from paddlenlp.trainer.trainer_utils import SchedulerType

from ldm.common.cli.numbers import Range
from ldm.training.flags.inherited import RANGES, REFUSED, check_inherited
from ldm.training.flags.parser import FlagParser
from ldm.training.flags.unsupported import check_supported
from ldm.training.flags.values import EVERY, NEAR_ONE, check_values, number
from ldm.training.preflight.forecast import check_batch_memory
from ldm.weights.release import check_device_dtype


@dataclass
class CascadeTrainingArguments(TrainingArguments):
    """PaddleNLP's arguments, refused where a value could not take effect."""

    per_device_train_batch_size: int = field(default=1, metadata={"help": "images per device and step"})
    learning_rate: float = field(default=1e-4, metadata={"help": "peak learning rate"})
    weight_decay: float = field(default=0.01, metadata={"help": "AdamW's, on every parameter as in the release"})
    lr_scheduler_type: str = field(default="constant_with_warmup", metadata={"help": "linear, cosine, constant, ..."})
    warmup_steps: int = field(default=1, metadata={"help": "steps of linear warm-up"})
    device: Optional[str] = field(
        default=None,
        metadata={"help": "cpu, gpu, ...: only what is computed on anyway, which CUDA_VISIBLE_DEVICES decides"},
    )
    image_logging_steps: int = number(0, EVERY, "a picture every so many steps; 0: none")
    sharding: str = field(
        default="", metadata={"help": "stage1: each of several processes keeps a part of the optimiser's states"}
    )
    ddp_find_unused_parameters: bool = field(
        default=False, metadata={"help": "every parameter that is trained is used in every step"}
    )
    ema_decay: float = number(
        0.0, Range(0, NEAR_ONE), "keep a running average of the weights, for instance 0.999; 0: none"
    )
    loss_weight: str = field(
        default="p2",
        metadata={"help": "over noise levels: p2, adaptive (the release's for all of the 3.6B), min_snr or none"},
    )
    min_snr_gamma: float = number(5.0, Range(0, 10**6, above=True), "the signal-to-noise ratio at which min_snr cuts")
    p2_shift: float = number(
        1.0, Range(0, 1000, above=True), "p2 as 1 / (1 + shift^2 SNR): above 1, the highest noise levels count more"
    )
    noise_shift: float = number(
        1.0,
        Range(0, 1000, above=True),
        "more noise at the same time, log SNR + 2 ln(1 / shift): 8 draws four of five samples where composition is decided",
    )
    on_non_finite: str = field(
        default="stop", metadata={"help": "at a loss or gradient that is no number: stop, or skip the step"}
    )
    dry_run: bool = field(
        default=False,
        metadata={
            "help": "check data, weights, disk and memory and try one step; nothing is changed, the output folder not touched"
        },
    )
    preflight: bool = field(default=True, metadata={"help": "the same checks before training, in short"})
    replay_bad_batch: Optional[str] = field(
        default=None, metadata={"help": "run a batch saved in bad_batches/ once instead of training; its .json file"}
    )

    batch_norm_momentum: float = number(
        0.9, Range(0, 0.99999), "how slowly the running statistics follow the batches'; 0.99 for small batches"
    )
    freeze_batch_norm: bool = field(
        default=False, metadata={"help": "normalise by the running statistics, which then stay as they are"}
    )

    save_on_signal: bool = field(
        default=False,
        metadata={"help": "at Ctrl-C or SIGTERM finish the step and save a checkpoint before the program ends"},
    )
    debug: bool = field(default=False, metadata={"help": "show the traceback of an error instead of its one line"})

    def __post_init__(self):
        check_inherited(self)
        check_values(self, RANGES, unchecked=REFUSED)
        self.check_before_parsing()
        check_supported(self)
        if self.report_to is None:
            self.report_to = "all"  # PaddleNLP's own default, of which it would announce that it will change one day
        super().__post_init__()

    def check_before_parsing(self):
        """ValueError for every flag that could not be honoured, with what to do instead."""
        if self.fp16_opt_level not in ("O1", "O2"):
            raise ValueError(f"--fp16_opt_level must be O1 or O2, got {self.fp16_opt_level!r}.")
        for flag in ("fp16", "bf16"):
            if getattr(self, flag) and paddle.get_device() == "cpu":
                raise ValueError(
                    f"--{flag} needs a GPU: Paddle has no half-precision training on a CPU. Leave the flag out here."
                )
        if self.bf16:
            check_device_dtype("bfloat16")
        if self.lr_scheduler_type == "constant" and (self.warmup_steps > 0 or self.warmup_ratio > 0):
            raise ValueError(
                "--lr_scheduler_type constant ignores warm-up: use constant_with_warmup, or --warmup_steps 0."
            )
        if self.warmup_ratio > 0:
            if self.warmup_steps > 1:
                raise ValueError(
                    f"--warmup_ratio {self.warmup_ratio} and --warmup_steps {self.warmup_steps}: leave one of them out."
                )
            self.warmup_steps = 0  # PaddleNLP would take these, of which 1 is the default
        check_one_of(self, "lr_scheduler_type", *(kind.value for kind in SchedulerType))
        check_one_of(self, "optim", "adamw", "adamw_mini")
        check_one_of(self, "loss_weight", "p2", "adaptive", "min_snr", "none")
        check_one_of(self, "on_non_finite", "stop", "skip")
        if self.min_snr_gamma != 5 and self.loss_weight != "min_snr":
            raise ValueError(
                f"--min_snr_gamma is for --loss_weight min_snr, not {self.loss_weight}: leave one of them out."
            )
        if self.p2_shift != 1 and self.loss_weight != "p2":
            raise ValueError(f"--p2_shift is for --loss_weight p2, not {self.loss_weight}: leave one of them out.")
        if self.dry_run and (self.replay_bad_batch or not self.preflight):
            other = "--replay_bad_batch" if self.replay_bad_batch else "--preflight False"
            raise ValueError(f"--dry_run True is the checks alone, {other} something else: leave one of them out.")


def check_one_of(arguments, name, *choices):
    """ValueError for a value that is none of the choices."""
    if getattr(arguments, name) not in choices:
        raise ValueError(f"--{name} must be one of {', '.join(choices)}, got {getattr(arguments, name)!r}.")


def parse_into(groups, argv=None):
    """Command line -> objects of `groups` (model and data) and of CascadeTrainingArguments; ValueError for what is refused."""
    model, data, training = FlagParser((*groups, CascadeTrainingArguments)).parse(argv)
    if not training.do_train:
        raise ValueError("Nothing to do: add --do_train.")
    if not getattr(model, "feature_cache", None):
        check_batch_memory(data.resolution, training.per_device_train_batch_size)
    if hasattr(model, "check_pictures"):
        model.check_pictures(training.image_logging_steps)
    return model, data, training


def resolved(*argument_groups) -> dict:
    """Every option as it was finally used, to be saved with the run."""
    return {f.name: getattr(group, f.name) for group in argument_groups for f in fields(group)}
