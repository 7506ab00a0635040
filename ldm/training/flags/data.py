"""Flags of the data: what is trained on, at what resolution, how it is cut."""

from dataclasses import dataclass, field
from typing import ClassVar, Optional

from ldm.common.cli.numbers import Range
from ldm.data.transforms import check_crop
from ldm.sizes import MINIMUM
from ldm.training.flags.values import SHARE, SIDE, number


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
class RandomCropDataArguments(DataArguments):
    """DataArguments of a trainer that may train on squares cut from its images."""

    smallest_crop: ClassVar[int] = 64
    crop_multiple: ClassVar[int] = 8

    random_crop: int = number(
        0,
        Range(0, SIDE.high),
        "train on squares of so many pixels cut from the images at random; 0: on the whole images. A decoder's semantic "
        "encoder sees them whole",
    )

    def check_random_crop(self):
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
