"""A map-style dataset over any source of captioned images, and the views of a sample that a run's order asks it for."""

from typing import Optional

import numpy as np
from paddle.io import Dataset
from PIL import ImageOps

from ldm.data.buckets import AspectBuckets
from ldm.data.sources.mix import Mix
from ldm.data.sources.opening import open_source
from ldm.data.sources.source import Captions, ImageSource
from ldm.data.transforms import check_crop, clip_array, open_rgb, resize_and_crop, to_array

VIEW_DRAWS = 2  # sets these random numbers apart from an epoch's order and buckets


class View(int):
    """A sample's number that also says in which epoch of which run it is seen, and in which bucket.

    It is an int, so that datasets without random views take it as they take any number. A plain int is the fixed view:
    square, uncropped by chance, never mirrored, which logged pictures and statistics use.
    """

    seed: int
    epoch: int
    bucket: int  # -1: the sample's own shape is the square

    def __new__(cls, index: int, seed: int, epoch: int, bucket: int = -1):
        view = super().__new__(cls, index)
        view.seed, view.epoch, view.bucket = int(seed), int(epoch), int(bucket)
        return view

    def __getnewargs__(self):  # it travels to the loader's workers
        return int(self), self.seed, self.epoch, self.bucket

    def draws(self) -> np.random.Generator:
        """Random numbers of this view, the same in any process and after any resume."""
        return np.random.default_rng([self.seed, self.epoch, int(self), VIEW_DRAWS])


class SampleSet(Dataset):
    """What a training asks of its samples: items {name: value} with an "index" and, where it is known, what they come from."""

    source: Optional[ImageSource] = None
    captions = None  # captions[i] of sample i
    mix: Optional[Mix] = None  # of which two sets they are
    buckets: Optional[AspectBuckets] = None  # the shapes that batches are of
    fixed_buckets: Optional[AspectBuckets] = None  # those of the samples' fixed views, where these differ


class ImageTextDataset(SampleSet):
    """Items: image (3, H, W) and clip_pixels (3, P, P), float32 in [0, 1]; caption; index.

    resolution: S, pixels of the training crop; clip_size: P, what the CLIP image tower takes, or None for no
    clip_pixels. crop: centre, random or smart; flip: mirror every other image by chance. A `View` of a sample is cut
    to the shape of its bucket where there are `buckets`, with the view's own random numbers; a plain number gives the
    fixed view, S x S, whose random crop is the centre and which is never mirrored. mix: of which two sets `source` is,
    for the order of a run.
    """

    def __init__(
        self,
        source: ImageSource,
        resolution: int,
        clip_size: Optional[int] = None,
        crop: str = "centre",
        flip: bool = False,
        buckets: Optional[AspectBuckets] = None,
        mix: Optional[Mix] = None,
    ):
        super().__init__()
        check_crop(crop)
        self.source, self.captions = source, Captions(source)
        self.resolution, self.clip_size = resolution, clip_size
        self.crop, self.flip, self.buckets, self.mix = crop, flip, buckets, mix

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        image = self._view(self.open_rgb(index), index)
        item = {"image": to_array(image), "caption": self.captions[int(index)], "index": int(index)}
        if self.clip_size is not None:
            item["clip_pixels"] = clip_array(image, self.clip_size)
        return item

    def open_rgb(self, index: int):
        """The whole image, upright RGB; ValueError names it if it is damaged."""
        with self.source.open(int(index)) as file:
            return open_rgb(file, self.source.label(int(index)))

    def _view(self, image, index):
        size, rng = self.resolution, None
        if isinstance(index, View):
            rng = index.draws()
            if index.bucket >= 0:
                size = self.buckets.shapes[index.bucket]
        image = resize_and_crop(image, size, crop=self.crop, rng=rng)
        return ImageOps.mirror(image) if self.flip and rng is not None and rng.random() < 0.5 else image


class ImageTextFolder(ImageTextDataset):
    """The dataset of a path, cut in the middle: what scripts and statistics look at.

    folder: an image-text folder, a metadata table or tars. Empty captions stop the run here; images are looked at when
    they are used.
    """

    def __init__(self, folder, resolution: int, clip_size: Optional[int] = None):
        super().__init__(open_source(folder), resolution, clip_size)
