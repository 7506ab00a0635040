"""Write the networks of a Trainer's checkpoint into a release folder, under the official names and in their layout."""

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare
from ldm.programs import called_as


def export(args):
    """Write the files and name them."""
    from ldm.training.checkpoints.export import export_networks

    for path in export_networks(args.checkpoint_path, args.release, args.version, args.dtype, args.ema):
        print(f"{args.checkpoint_path} -> {path} ({args.dtype})")


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    add = parser.add_argument
    add("--checkpoint_path", required=True, help="checkpoint folder, or output folder (its last weights)")
    add("--release", required=True, help="folder to write into; files of the same name are replaced")
    add("--version", default=None, help="for a prior 1B or 3.6B, for a decoder 700M or 3B: decides the file's name")
    add("--dtype", default="float32", choices=("float32", "float16", "bfloat16"), help="(default: %(default)s)")
    add("--ema", action="store_true", help="the averaged weights (of a run with --ema_decay) instead of the last")
    return parser


def main(argv=None) -> int:
    return run_command(called_as("export_release.py"), make_parser, export, argv, prepare)
