"""Command lines of the trainers: what PaddleNLP's TrainingArguments lacks, and refusals of what it would ignore."""

from dataclasses import dataclass, field, fields
from typing import ClassVar, Optional

import paddle
from paddlenlp.trainer import TrainingArguments
from paddlenlp.trainer.trainer_utils import SchedulerType

from ldm.data.crops import check_crop
from ldm.release import check_device_dtype
from ldm.sizes import MINIMUM
from ldm.training.batch_memory import check_batch_memory
from ldm.training.flag_parser import FlagParser
from ldm.training.inherited import RANGES, REFUSED, check_inherited
from ldm.training.unsupported import check_supported
from ldm.training.values import EVERY, NEAR_ONE, SHARE, SIDE, Range, check_values, number


@dataclass
class DataArguments:
    """What is trained on. A trainer's own subclass sets the default resolution and what it must divide by."""

    default_resolution: ClassVar[int] = 256

    dataset_path: str = field(
        default="dataset/photos",
        metadata={
            "help": "folder of NAME.jpg beside NAME.txt, or with a metadata.jsonl or .csv (file_name, text); or webdataset "
            "tars: paths, 'globs/*.tar' and {000..123} braces, separated by commas"
        },
    )
    output_size: Optional[int] = number(
        None, Range(1, 2 * SIDE.high), "size of the images that will be generated; --resolution follows from it"
    )
    resolution: Optional[int] = number(None, SIDE, "side of the training images in pixels")
    check_images: bool = field(
        default=True, metadata={"help": "read every image before training, so that a damaged one is found at once"}
    )
    skip_corrupt: bool = field(
        default=False, metadata={"help": "leave out what --check_images finds damaged, and say what that is"}
    )
    caption_key: str = field(
        default="", metadata={"help": "column of metadata.jsonl or .csv, or key of the tars' .json, with the captions"}
    )
    data_filter: str = field(
        default="",
        metadata={"help": "train on samples whose metadata say yes: \"width >= 512 and 'nude' not in tags\""},
    )
    index_dir: Optional[str] = field(
        default=None, metadata={"help": "keep the index of tars and the image sizes here; default: beside the data"}
    )
    trust_mtime: bool = field(
        default=False,
        metadata={
            "help": "with --feature_cache: do not hash images whose bytes, modification and change time and inode are those "
            "that cache_features.py saw"
        },
    )
    aspect_buckets: bool = field(
        default=False, metadata={"help": "keep the images' shapes: batches of one aspect ratio each, as in the release"}
    )
    random_bucket: float = number(0.05, SHARE, "share of samples that --aspect_buckets cuts to a ratio drawn at random")
    crop: str = field(
        default="centre", metadata={"help": "what is kept of an image: centre, random, or smart (detail)"}
    )
    flip: bool = field(default=False, metadata={"help": "mirror every other image at random"})
    preservation_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "a second captioned set mixed in, so that a small one does not make the model forget the rest: its own "
            "pictures, as 'inference.py --caption CAPTIONS.txt --batch_size 4 --write_captions --output_dir FOLDER' "
            "writes them; --caption_key and --data_filter are not for it"
        },
    )
    preservation_share: float = number(
        0.5, Range(0.001, 0.999), "share of the samples that come from --preservation_path, spread evenly"
    )

    def check_resolution(self, multiple: int, smallest: int, note: str = ""):
        """Derive `resolution` from --output_size or the default; ValueError unless it suits the network."""
        flag, value = "--resolution", self.resolution
        if self.output_size is not None:
            flag, value = "--output_size", self.output_size
            if value < MINIMUM:
                raise ValueError(f"--output_size {value} is below the minimum of {MINIMUM} pixels.")
            derived = self.pixels_of_output(value)
            if self.resolution not in (None, derived):
                raise ValueError(
                    f"--output_size {value} is trained at {derived} pixels, but --resolution says {self.resolution}: "
                    "leave one of them out."
                )
            if derived not in SIDE:
                raise ValueError(f"--output_size {value} is trained at {derived} pixels, which must be {SIDE}.")
            self.resolution = derived
        elif self.resolution is None:
            self.resolution = value = self.default_resolution
        if self.resolution < smallest or self.resolution % multiple:
            raise ValueError(f"{flag} {value}: must be a multiple of {multiple}, at least {smallest}{note}.")

    def pixels_of_output(self, output_size: int) -> int:
        """Side of the training images for what is generated at `output_size`."""
        return output_size

    def described_sizes(self) -> str:
        """The sizes in words: what is trained, and what it is for."""
        return f"training pixels {self.resolution}, the size of the images themselves"

    def check_views(self):
        """ValueError for flags of the data that contradict each other."""
        check_crop(self.crop)
        if not self.aspect_buckets and self.random_bucket != 0.05:
            raise ValueError("--random_bucket is for --aspect_buckets: add --aspect_buckets True, or leave it out.")
        if not self.preservation_path and self.preservation_share != 0.5:
            raise ValueError("--preservation_share is for --preservation_path: name the folder.")
        if self.skip_corrupt and not self.check_images:
            raise ValueError("--skip_corrupt leaves out what --check_images finds: do not switch that off.")
        if not self.resolution and (self.aspect_buckets or self.output_size):
            flag = "--aspect_buckets" if self.aspect_buckets else "--output_size"
            raise ValueError(f"{flag}: leave it out, this trainer's images have the size that its network takes.")


@dataclass
class SquaresDataArguments(DataArguments):
    """DataArguments of a trainer that may train on squares cut from its images."""

    smallest_crop: ClassVar[int] = 64
    crop_multiple: ClassVar[int] = 8

    random_crop: int = number(
        0,
        Range(0, SIDE.high),
        "train on squares of so many pixels cut from the images at random; 0: on the whole images. A decoder's semantic "
        "encoder sees them whole",
    )

    def check_squares(self):
        """ValueError unless --random_crop suits the network and the resolution, which has been checked before."""
        crop = self.random_crop
        if crop and (crop % self.crop_multiple or not self.smallest_crop <= crop <= self.resolution):
            raise ValueError(
                f"--random_crop {crop}: must be a multiple of {self.crop_multiple} from {self.smallest_crop} to --resolution "
                f"{self.resolution}."
            )

    def check_views(self):
        super().check_views()
        if self.random_crop and self.aspect_buckets:
            raise ValueError(
                "--random_crop cuts squares, --aspect_buckets keeps the images' shapes: leave one of them out."
            )


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
