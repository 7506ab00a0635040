#!/usr/bin/env python
"""Write a dozen captioned photographs as an image-text folder (they come with scikit-image and scikit-learn)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldm.cli import run  # noqa: E402
from ldm.runtime import prepare  # noqa: E402


def write(args):
    """Write the photographs."""
    from ldm.data.photos import write_photos

    count = write_photos(args.output)
    print(f"Wrote {count} photographs with captions to {args.output}")


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="dataset/photos", help="folder to write (default: %(default)s)")
    args = parser.parse_args(argv)
    prepare()
    return run(parser.prog, lambda: write(args))


if __name__ == "__main__":
    sys.exit(main())
