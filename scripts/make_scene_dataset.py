#!/usr/bin/env python
"""Write pictures of coloured shapes with exact captions as an image-text folder, to train on and to judge samples by."""

import sys

import _clone

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.cli.numbers import count, pixels, seed, share, workers


def write(args):
    """Write the scenes with a progress bar."""
    from tqdm.auto import tqdm

    from ldm.demo.scenes.dataset import SceneSettings, write_scenes

    settings = SceneSettings(args.count, args.size, args.seed, args.split, args.plain_share)
    write_scenes(args.output, settings, args.workers, lambda lines: tqdm(lines, total=args.count, unit="image"))
    print(f"{args.output} holds {args.count} {args.split} scenes of {args.size} x {args.size} pixels")


def make_parser() -> Parser:
    from ldm.demo.scenes.sampling import SPLITS

    parser = Parser(description=__doc__)
    parser.add_argument("--output", required=True, help="folder to write; a run that was stopped goes on where it was")
    parser.add_argument(
        "--count", type=count, required=True, help="number of pictures; a larger one extends the folder"
    )
    parser.add_argument(
        "--size", type=pixels, default=128, help="side of the pictures in pixels (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="the same seed gives the same files (default: %(default)s)"
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="train",
        help="test: what train never shows; concept: a new shape (default: %(default)s)",
    )
    parser.add_argument(
        "--plain_share",
        type=share,
        default=0.0,
        help="how many are on white, half of them black and red: there shapes and places are learned first (default: 0)",
    )
    parser.add_argument("--workers", type=workers, default=1, help="processes (default: %(default)s)")
    return parser


def main(argv=None) -> int:
    return run_command("make_scene_dataset.py", make_parser, write, argv)


if __name__ == "__main__":
    sys.exit(main())
