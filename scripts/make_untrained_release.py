#!/usr/bin/env python
"""Write a release with freshly initialised weights, to be trained from nothing; its tokenizer learns a dataset's words."""

import sys
from pathlib import Path

import _clone

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.cli.numbers import pixels, seed
from ldm.common.runtime import prepare

STATISTICS_IMAGES = 256


def write(args):
    """Write the release unless the folder holds something already."""
    import numpy as np
    import paddle

    from ldm.data.dataset import ImageTextFolder
    from ldm.demo.untrained import read_architecture, write_untrained_release

    if args.output.is_dir() and any(args.output.iterdir()):
        raise ValueError(f"{args.output} is not empty: choose a new folder, so that no trained weights are lost.")
    architecture = read_architecture(args.architecture)
    dataset = ImageTextFolder(args.dataset_path, args.resolution)
    images = np.stack([dataset[index]["image"] for index in range(min(STATISTICS_IMAGES, len(dataset)))])
    write_untrained_release(args.output, architecture, dataset.captions, paddle.to_tensor(images), args.seed)
    print(f"Wrote {args.output}: untrained weights, and a tokenizer that knows the words of {args.dataset_path}.")


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--architecture", default="assets/demo_architecture.json", help="JSON of sizes (default: %(default)s)")
    add("--dataset_path", required=True, help="image-text folder: the tokenizer's words, the BatchNorms' statistics")
    add(
        "--resolution",
        type=pixels,
        default=192,
        help="side of the images for the statistics, divisible by 32 (default: %(default)s)",
    )
    add("--output", type=Path, required=True, help="folder to write, new or empty")
    add("--seed", type=seed, default=0, help="the same seed gives the same weights (default: %(default)s)")
    return parser


def main(argv=None) -> int:
    return run_command("make_untrained_release.py", make_parser, write, argv, prepare)


if __name__ == "__main__":
    sys.exit(main())
