"""The dataset of a run, opened and checked before gigabytes of weights are read."""

from typing import Optional

import numpy as np
from tqdm.auto import tqdm

from ldm.data.buckets import AspectBuckets
from ldm.data.dataset import ImageTextDataset
from ldm.data.image_sizes import image_sizes
from ldm.data.sources.mix import Joined, Mix, Subset
from ldm.data.sources.opening import open_source
from ldm.data.sources.source import ImageSource
from ldm.data.transforms import open_rgb
from ldm.training.flags.data import DataArguments

REMEDY = "Replace or remove them, or add --check_images True --skip_corrupt True."


def open_dataset(data: DataArguments, clip_size: Optional[int] = None, decode: bool = True) -> ImageTextDataset:
    """The dataset that the arguments describe; ValueError names everything that is wrong with it.

    decode: whether images will be decoded at all, and so are to be checked unless --check_images is off.
    """
    data.check_views()
    if data.trust_mtime and decode:
        raise ValueError("--trust_mtime is for --feature_cache, whose images are hashed: leave it out.")
    sources = [open_source(data.dataset_path, data.caption_key, data.data_filter, data.index_dir)]
    if data.preservation_path:
        sources.append(_preservation_source(data))
    if data.check_images and (decode or data.skip_corrupt):
        sources = [checked(source, data.skip_corrupt) for source in sources]
    buckets = None
    if data.aspect_buckets:
        sizes = np.concatenate([_sizes(source, data.index_dir) for source in sources])
        buckets = AspectBuckets(data.resolution, sizes, data.random_bucket)
        print(buckets.summary())
    print(f"{len(sources[0])} captioned images; {data.described_sizes()}.")
    source, mix = sources[0], None
    if data.preservation_path:
        mix = Mix.of(*map(len, sources), data.preservation_share)
        source = Joined(*sources)
        print(f"{mix.other} images of {data.preservation_path} are {float(mix.share):.1%} of what is seen.")
    return ImageTextDataset(source, data.resolution, clip_size, data.crop, data.flip, buckets, mix)


def _preservation_source(data: DataArguments) -> ImageSource:
    """The images of --preservation_path; messages that would name the other set's flag name this one."""
    try:
        return open_source(data.preservation_path, index_dir=data.index_dir)
    except (ValueError, FileNotFoundError) as error:
        if type(error) not in (ValueError, FileNotFoundError) or getattr(error, "errno", None) is not None:
            raise
        raise type(error)(str(error).replace("--dataset_path", "--preservation_path")) from error


def _sizes(source: ImageSource, index_dir) -> np.ndarray:
    """Widths and heights (N, 2); ValueError names images that have none."""
    sizes, problems = image_sizes(source, index_dir)
    if problems:
        raise ValueError("\n".join([*problems.values(), REMEDY]))
    return sizes


def checked(source: ImageSource, skip: bool) -> ImageSource:
    """Read every image and caption once. ValueError names the unreadable ones, all of them; `skip` leaves them out."""
    problems = {}
    for index in tqdm(range(len(source)), desc="Checking images", leave=False, disable=len(source) < 200):
        try:
            with source.open(index) as file:
                open_rgb(file, source.label(index), thorough=True)
            source.caption(index)
        except (ValueError, OSError) as error:
            problems[index] = str(error)
    if not problems:
        return source
    if not skip:
        raise ValueError("\n".join([*problems.values(), REMEDY]))
    kept = np.setdiff1d(np.arange(len(source)), list(problems))
    if not len(kept):
        raise ValueError(f"{source.where}: --skip_corrupt leaves nothing, all {len(source)} samples are damaged.")
    skipped = ", ".join(source.name(index) for index in problems)
    print(f"--skip_corrupt: {len(problems)} of {len(source)} samples cannot be read and are left out: {skipped}")
    return Subset(source, kept)
