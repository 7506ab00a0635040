"""Convert Stage B and C weights between the official layout and Paddle's, streamed one tensor at a time."""

from pathlib import Path

from ldm import config
from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare
from ldm.programs import called_as


def add_arguments(parser):
    """The options that both conversion scripts share."""
    add = parser.add_argument
    add("--input", default=config.WEIGHTS_PATH, help="safetensors file or release folder (default: %(default)s)")
    add("--output", default=None, help="file or folder to write (default: the input's name with _paddle)")
    add("--dtype", default=None, choices=("float32", "float16", "bfloat16"), help="default: as in the input")
    add("--to_official", action="store_true", help="the other way: from Paddle's layout to the official one")


def convert_all(args, kinds) -> list[Path]:
    """Convert what the options name, with one progress bar per file; the written paths."""
    from tqdm.auto import tqdm

    from ldm.weights.convert import convert_one, plan_paths

    written = []
    for source, target in plan_paths(args.input, args.output, kinds):
        kind = convert_one(
            source,
            target,
            kinds,
            args.dtype,
            args.to_official,
            lambda tensors, name=source.name: tqdm(tensors, desc=name),
        )
        print(f"{source} ({kind}) -> {target}")
        written.append(target)
    return written


def convert(args):
    """Convert the UNets."""
    from ldm.weights.convert import UNETS

    convert_all(args, UNETS)


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add_arguments(parser)
    return parser


def main(argv=None) -> int:
    return run_command(called_as("convert_unet_weight.py"), make_parser, convert, argv, prepare)
