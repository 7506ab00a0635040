"""The dataset of a path, in its fixed view: what scripts and statistics look at."""

from typing import Optional

from ldm.data.dataset import ImageTextDataset
from ldm.data.sources.opening import open_source


class ImageTextFolder(ImageTextDataset):
    """ImageTextDataset of an image-text folder, a metadata table or tars, cut in the middle.

    resolution: S, pixels of the training crop; clip_size: P, what the CLIP image tower takes, or None for no
    clip_pixels. Empty captions stop the run here; images are looked at when they are used.
    """

    def __init__(self, folder, resolution: int, clip_size: Optional[int] = None):
        super().__init__(open_source(folder), resolution, clip_size)
