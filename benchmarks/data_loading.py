#!/usr/bin/env python
"""Images per second that the trainers' data loader delivers, by worker processes.

python benchmarks/data_loading.py [--dataset FOLDER] --resolution 768

Without --dataset: 200 JPEGs of 1280 x 1280 pixels of noise and shapes, made first. Decoding, cropping and the view for CLIP
are the trainer's; nothing is trained. The first batch, which starts the workers, does not count.
"""

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter

from ldm.common.runtime import prepare


def make_pictures(folder, count: int = 200, side: int = 1280):
    import numpy as np
    from PIL import Image, ImageFilter

    rng = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((side, side), Image.BICUBIC)
        fine = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).filter(
            ImageFilter.GaussianBlur(2)
        )
        Image.blend(coarse, fine, 0.3).save(Path(folder) / f"{index:03}.jpg", quality=90)
        (Path(folder) / f"{index:03}.txt").write_text(f"picture number {index}\n")


def rate(dataset, batch: int, workers: int, images: int) -> float:
    """Images per second, drawn at random with repetition so that the workers start once."""
    import numpy as np
    from paddle.io import DataLoader

    from ldm.training.batches.loader import Collator

    batches = -(-images // batch)
    drawn = np.random.default_rng(0).integers(0, len(dataset), (batches + 1, batch))
    order = [[int(index) for index in row] for row in drawn]
    loader = iter(DataLoader(dataset, batch_sampler=order, collate_fn=Collator(), num_workers=workers))
    next(loader)
    start = perf_counter()
    for _ in loader:
        pass
    return batches * batch / (perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", help="image-text folder, table or tars")
    parser.add_argument("--resolution", type=int, default=768)
    parser.add_argument("--clip_size", type=int, default=224, help="pixels of the view for CLIP")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--images", type=int, default=200, help="timed for each number of workers")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, os.cpu_count()])
    args = parser.parse_args()
    prepare()
    from ldm.data.dataset import ImageTextDataset
    from ldm.data.sources.opening import open_source

    with tempfile.TemporaryDirectory() as folder:
        if args.dataset is None:
            make_pictures(folder)
        source = open_source(args.dataset or folder)
        dataset = ImageTextDataset(source, args.resolution, args.clip_size)
        for workers in args.workers:
            print(f"{workers} workers: {rate(dataset, args.batch, workers, args.images):.1f} images/s", flush=True)


if __name__ == "__main__":
    main()
