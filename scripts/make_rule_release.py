#!/usr/bin/env python
"""Write a small stand-in release with rule-filled (untrained) weights, to try every command without a download."""

import sys
from pathlib import Path

import _clone

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare

DONE = "README.txt"
NOTE = (
    "Small stand-in for the Stable Cascade release, written by scripts/make_rule_release.py.\n"
    "Same files, names and formats; the weights are filled by a rule, not trained: images made with them are noise.\n"
)


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/rule_release"), help="folder (default: %(default)s)")
    parser.add_argument("--salt", default="", help="another salt gives other weights")
    parser.add_argument("--force", action="store_true", help="write again even if the folder is complete")
    return parser


def write(args):
    """Write the release unless it is there."""
    done = args.output / DONE
    expected = f"{NOTE}salt: {args.salt!r}\n"
    if not args.force and done.is_file() and done.read_text() == expected:
        print(f"{args.output} is complete already (--force writes it again).")
        return
    prepare()
    from ldm.demo.rule_release import write_rule_release

    done.unlink(missing_ok=True)
    write_rule_release(args.output, args.salt)
    done.write_text(expected)
    print(f"Wrote {args.output}. Its weights are rule-filled, not trained: images made with them are noise.")


def main(argv=None) -> int:
    return run_command("make_rule_release.py", make_parser, write, argv)


if __name__ == "__main__":
    sys.exit(main())
