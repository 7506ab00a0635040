#!/usr/bin/env python
"""Write a dozen captioned photographs as an image-text folder (they come with scikit-image and scikit-learn)."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldm.runtime import prepare  # noqa: E402


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="dataset/photos", help="folder to write (default: %(default)s)")
    args = parser.parse_args(argv)
    prepare()
    from ldm.data.photos import write_photos

    try:
        count = write_photos(args.output)
    except (ModuleNotFoundError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"Wrote {count} photographs with captions to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
