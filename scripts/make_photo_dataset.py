#!/usr/bin/env python
"""Write a dozen captioned photographs as an image-text folder (they come with scikit-image and scikit-learn)."""

import sys

import _clone

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare


def write(args):
    """Write the photographs."""
    from ldm.demo.photos import write_photos

    count = write_photos(args.output)
    print(f"Wrote {count} photographs with captions to {args.output}")


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--output", default="dataset/photos", help="folder to write (default: %(default)s)")
    return parser


def main(argv=None) -> int:
    return run_command("make_photo_dataset.py", make_parser, write, argv, prepare)


if __name__ == "__main__":
    sys.exit(main())
