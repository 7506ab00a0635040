"""Dataset items -> the arrays of a batch; captions become tokens here, in the loader's worker processes."""

import numpy as np


class Collator:
    """Stack items of ImageTextFolder. `tokenize(captions)` -> (input_ids, attention_mask), (B, L) each."""

    def __init__(self, tokenize):
        self.tokenize = tokenize

    def __call__(self, items: list) -> dict:
        input_ids, attention_mask = self.tokenize([item["caption"] for item in items])
        return {
            "images": np.stack([item["image"] for item in items]),
            "clip_pixels": np.stack([item["clip_pixels"] for item in items]),
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "index": np.asarray([item["index"] for item in items], np.int64),
        }
