"""A map-style dataset over an image-text folder."""

from typing import Optional

from paddle.io import Dataset

from ldm.data.pairs import find_pairs
from ldm.data.transforms import clip_array, open_rgb, resize_and_crop, to_array


class ImageTextFolder(Dataset):
    """Items: image (3, S, S) and clip_pixels (3, P, P), float32 in [0, 1]; caption; index.

    resolution: S, pixels of the training crop; clip_size: P, what the CLIP image tower takes, or None for no
    clip_pixels.
    Captions are read and checked at once, so an empty one stops the run before it starts; images when they are used.
    """

    def __init__(self, folder, resolution: int, clip_size: Optional[int] = None):
        super().__init__()
        self.pairs = find_pairs(folder)
        self.captions = [pair.read_caption() for pair in self.pairs]
        self.resolution, self.clip_size = resolution, clip_size

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict:
        image = resize_and_crop(open_rgb(self.pairs[index].image), self.resolution)
        item = {"image": to_array(image), "caption": self.captions[index], "index": index}
        if self.clip_size is not None:
            item["clip_pixels"] = clip_array(image, self.clip_size)
        return item
