"""What a run looks at: pictures of fixed captions or images, made by the weights as they are, laid out in a sheet."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import paddle
from paddlenlp.utils.log import logger
from PIL import Image

from ldm.images import read_settings, save_png
from ldm.labelled_sheet import labelled_sheet

SHOWN = 4  # images of the dataset
BASE = "base model"


@dataclass(frozen=True)
class Pictures:
    """One picture per row, always of the same captions or images with the same random numbers."""

    title: str
    rows: list  # what each picture is made from, in words
    make: Callable  # () -> a uint8 image (H, W, 3) per row
    settings: dict  # everything that decides the pictures but the trained weights; goes into the PNG
    name: str = "preview"
    every: int = 0  # steps; 0: --image_logging_steps
    originals: Optional[Callable] = None  # () -> the images that the rows are about, in a column of their own
    using: Callable = nullcontext  # a context in which `make` can be called several times

    def made(self) -> list:
        """The pictures, or None for each where a number in them is not finite: training goes on and says more."""
        try:
            return list(self.make())
        except FloatingPointError as error:
            logger.warning(f"No {self.name} pictures: {error}")
            return [None] * len(self.rows)


def first_images(dataset, count: int = SHOWN):
    """The first images of a dataset as a batch (N, 3, S, S) in [0, 1]."""
    return paddle.to_tensor(np.stack([dataset[i]["image"] for i in range(min(count, len(dataset)))]))


def weights_stamp(path) -> str:
    """What tells a weights file from another one in its place."""
    found = Path(path).stat()
    return f"{path}, {found.st_size} bytes, {found.st_mtime_ns}"


def base_column(pictures: Pictures, folder) -> list:
    """The pictures of the weights that a run starts from: read from `folder`, else made, with these weights, and kept.

    To be called before a checkpoint is loaded, so that a resumed run needs no second model to compare with.
    """
    folder = Path(folder)
    paths = [folder / f"{pictures.name}_{row:02d}.png" for row in range(len(pictures.rows))]
    records = [{**pictures.settings, "row": row, "shows": BASE} for row in pictures.rows]
    if all(path.is_file() and _settings(path) == record for path, record in zip(paths, records)):
        return [np.asarray(Image.open(path)) for path in paths]
    with pictures.using():
        column = pictures.made()
    for path, record, picture in zip(paths, records, column):
        if picture is not None:
            save_png(path, picture, record)
    return column


def _settings(path):
    try:
        return read_settings(path)
    except (ValueError, OSError):
        return None


def sheet_of(pictures: Pictures, base: list, step: int, columns: dict) -> np.ndarray:
    """The sheet of a step, uint8 (H, W, 3). columns: {title: pictures} beside the originals and those of the base."""
    whole = {"image": pictures.originals()} if pictures.originals else {}
    whole |= {BASE: base, **columns}
    return np.asarray(labelled_sheet(f"{pictures.title}, step {step}", whole, list(pictures.rows)))
