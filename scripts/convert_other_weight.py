#!/usr/bin/env python
"""Convert Stage A, the EfficientNet encoder and the previewer, and copy the CLIP folders along."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from convert_unet_weight import add_arguments, convert_all  # noqa: E402

from ldm.common.cli import run_command  # noqa: E402
from ldm.common.cli.flags import Parser  # noqa: E402
from ldm.common.runtime import prepare  # noqa: E402


def convert(args):
    """Convert the networks and, from a whole folder, bring CLIP along."""
    from ldm.weights.convert import OTHERS, copy_clip_folders

    written = convert_all(args, OTHERS)
    if Path(args.input).is_dir():
        for name in copy_clip_folders(args.input, written[0].parent):
            print(f"{Path(args.input) / name} copied: CLIP is read in Hugging Face's format as it is")


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add_arguments(parser)
    return parser


def main(argv=None) -> int:
    return run_command("convert_other_weight.py", make_parser, convert, argv, prepare)


if __name__ == "__main__":
    sys.exit(main())
