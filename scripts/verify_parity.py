#!/usr/bin/env python
"""Compare this port with recorded reference vectors; one row per case, non-zero exit on any miss."""

import sys
from pathlib import Path

import _clone

from ldm.common.cli import run_command
from ldm.common.cli.flags import Parser
from ldm.common.runtime import prepare, use_exact_matrix_products

ROOT = Path(__file__).resolve().parent.parent


def make_parser() -> Parser:
    parser = Parser(description=__doc__)
    parser.add_argument("folder", nargs="?", default=ROOT / "tests" / "reference", help="default: %(default)s")
    parser.add_argument(
        "--no_full_size", action="store_true", help="leave out full_*: they need up to 16 GiB of memory"
    )
    parser.add_argument("--plot", metavar="PNG", help="also draw the errors and their bounds")
    parser.add_argument("--strict", action="store_true", help='count "not yet" as a miss')
    return parser


def verify(args) -> int:
    """Print a row per case; 1 if any missed."""
    from ldm.parity.suite import check_file, plot_rows, record_files

    files = record_files(args.folder, not args.no_full_size)
    print(f"{'file':22} {'case':52} {'error':>9} {'bound':>7}  verdict")
    accepted = {"ok"} if args.strict else {"ok", "not yet"}
    misses, rows = 0, []
    for path in files:
        for row in check_file(path):
            rows.append(row)
            misses += row.verdict not in accepted
            if row.check is not None:
                numbers = f"{row.check.case[:52]:52} {row.check.error:9.1e} {row.check.bound:7.0e}"
            else:
                numbers = f"{row.note:70}"
            print(f"{row.file[:22]:22} {numbers}  {row.verdict}", flush=True)
    if args.plot:
        plot_rows(rows, args.plot)
    print(f"{len(rows) - misses} of {len(rows)} rows passed" + (f", {misses} did not" if misses else ""))
    return 1 if misses else 0


def prepare_exactly():
    """As every program, and with matrix products that a comparison can rely on."""
    use_exact_matrix_products()
    prepare()


def main(argv=None) -> int:
    return run_command("verify_parity.py", make_parser, verify, argv, prepare_exactly)


if __name__ == "__main__":
    sys.exit(main())
