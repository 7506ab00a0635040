#!/usr/bin/env python
"""Write a small stand-in release with rule-filled (untrained) weights, to try every command without a download."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldm.runtime import prepare  # noqa: E402

DONE = "README.txt"
NOTE = (
    "Small stand-in for the Stable Cascade release, written by scripts/make_rule_release.py.\n"
    "Same files, names and formats; the weights are filled by a rule, not trained: images made with them are noise.\n"
)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/rule_release"), help="folder (default: %(default)s)")
    parser.add_argument("--salt", default="", help="another salt gives other weights")
    parser.add_argument("--force", action="store_true", help="write again even if the folder is complete")
    args = parser.parse_args(argv)

    done = args.output / DONE
    expected = f"{NOTE}salt: {args.salt!r}\n"
    if not args.force and done.is_file() and done.read_text() == expected:
        print(f"{args.output} is complete already (--force writes it again).")
        return 0
    prepare()
    from ldm.rule_release import write_rule_release

    done.unlink(missing_ok=True)
    write_rule_release(args.output, args.salt)
    done.write_text(expected)
    print(f"Wrote {args.output}. Its weights are rule-filled, not trained: images made with them are noise.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
