"""The dataset of a run, opened and checked before gigabytes of weights are read."""

from typing import Optional

from tqdm.auto import tqdm

from ldm.data.folder import ImageTextFolder
from ldm.data.transforms import open_rgb
from ldm.training.arguments import DataArguments


def open_dataset(data: DataArguments, clip_size: Optional[int] = None) -> ImageTextFolder:
    """The image-text folder; ValueError names everything that is wrong with it."""
    dataset = ImageTextFolder(data.dataset_path, data.resolution, clip_size)
    if data.check_images:
        check_images(dataset)
    return dataset


def check_images(dataset: ImageTextFolder):
    """Read every image once; ValueError names the unreadable ones, all of them."""
    problems = []
    for pair in tqdm(dataset.pairs, desc="Checking images", leave=False, disable=len(dataset) < 200):
        try:
            open_rgb(pair.image)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise ValueError("\n".join(problems))
