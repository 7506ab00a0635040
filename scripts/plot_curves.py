#!/usr/bin/env python
"""Draw the loss curves of training runs, one panel each, from their output folders."""

import sys

import _clone

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare


def plot(args):
    """Write the picture."""
    from ldm.training.watching.curves import plot_runs

    plot_runs(args.runs, args.output)
    print(f"Wrote {args.output}")


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="output folders of runs, finished or not")
    parser.add_argument("--output", required=True, help="PNG file to write")
    return parser


def main(argv=None) -> int:
    return run_command("plot_curves.py", make_parser, plot, argv, prepare)


if __name__ == "__main__":
    sys.exit(main())
