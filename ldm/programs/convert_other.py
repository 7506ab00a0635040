"""Convert Stage A, the EfficientNet encoder and the previewer, and copy the CLIP folders along."""

from pathlib import Path

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare
from ldm.programs import called_as
from ldm.programs.convert_unet import add_arguments, convert_all


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
    return run_command(called_as("convert_other_weight.py"), make_parser, convert, argv, prepare)
