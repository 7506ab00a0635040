"""Dataset items -> the arrays of a batch; captions become tokens here, in the loader's worker processes."""

import numpy as np


class Collator:
    """Stack items of ImageTextDataset. `tokenize(captions)` -> (input_ids, attention_mask), (B, L) each, or None.

    images: False leaves them out, for models that only look at what CLIP sees. wrong(caption, index) -> k wrong captions:
    they are added as `negative_ids` and `negative_mask`, (B, k, L).
    """

    def __init__(self, tokenize=None, images: bool = True, wrong=None):
        self.tokenize, self.images, self.wrong = tokenize, images, wrong

    def __call__(self, items: list) -> dict:
        batch = {"index": np.asarray([item["index"] for item in items], np.int64)}
        if self.images:
            batch["images"] = np.stack([item["image"] for item in items])
        if "clip_pixels" in items[0]:
            batch["clip_pixels"] = np.stack([item["clip_pixels"] for item in items])
        if self.tokenize is not None:
            batch["input_ids"], batch["attention_mask"] = self.tokenize([item["caption"] for item in items])
        if self.wrong is not None:
            wrong = [self.wrong(item["caption"], item["index"]) for item in items]
            tokens = self.tokenize([caption for captions in wrong for caption in captions])
            batch["negative_ids"], batch["negative_mask"] = (
                part.reshape(len(items), -1, part.shape[-1]) for part in tokens
            )
        return batch
