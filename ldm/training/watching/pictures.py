"""Pictures that a run logs: of fixed captions or images, made by the weights as they are, laid out in a sheet."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import paddle
from paddlenlp.utils.log import logger
from PIL import Image

from ldm.common.sheets import labelled_sheet
from ldm.images import read_settings, save_png

SHOWN = 4  # images of the dataset
BASE = "base model"
CANNOT = (FloatingPointError, OSError, MemoryError)  # what pictures may fail by; anything else is a bug


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
        """The pictures, or None for each where they cannot be made: a run does not end for the sake of a picture.

        That is so where a number in them is not finite (`ldm.generation.sampling.to_uint8` refuses it: no black picture is written
        or logged, a grey cell says so), where a file of what makes them is gone, and where memory does not suffice. The
        reason is logged as a warning; the weights themselves are the business of `ldm.training.non_finite.guard`.
        """
        try:
            return list(self.make())
        except CANNOT as error:
            return self._none(error)

    @contextmanager
    def opened(self):
        """`using`, with a function as `made` in it; that gives None for each where already `using` fails."""
        with ExitStack() as stack:
            made = self.made
            try:
                stack.enter_context(self.using())
            except CANNOT as error:
                nothing = self._none(error)
                made = nothing.copy
            yield made

    def _none(self, error) -> list:
        logger.warning(f"No {self.name} pictures: {str(error) or type(error).__name__}")
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
    kept = [_kept(path, record) for path, record in zip(paths, records)]
    if all(picture is not None for picture in kept):
        return kept
    with pictures.opened() as made:
        column = made()
    for path, record, picture in zip(paths, records, column):
        if picture is not None:
            save_or_warn(path, picture, record)
    return column


def save_or_warn(path, picture, settings: dict):
    """`save_png`; where the disk does not take it, a warning."""
    try:
        save_png(path, picture, settings)
    except OSError as error:
        logger.warning(f"{path} is not written: {error}")


def _kept(path, record: dict):
    """The picture (H, W, 3) in the file `path` if it is complete and of these settings, else None."""
    try:
        if read_settings(path) != record:
            return None
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):  # Pillow's errors for what is no PNG
        return None
    return pixels if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 else None


def sheet_of(pictures: Pictures, base: list, step: int, columns: dict) -> np.ndarray:
    """The sheet of a step, uint8 (H, W, 3). columns: {title: pictures} beside the originals and those of the base."""
    table = {"image": pictures.originals()} if pictures.originals else {}
    table |= {BASE: base, **columns}
    return np.asarray(labelled_sheet(f"{pictures.title}, step {step}", table, list(pictures.rows)))
