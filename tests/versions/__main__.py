"""Every PaddlePaddle and Python that this project is for: an environment for each, and what works there, as a table.

The environments (2.4 GB each) are kept in build/versions and used again. Exit status 1 where anything does not work.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT / "tests")
DOCUMENTS = {"en": ROOT / "docs" / "versions.md", "zh": ROOT / "docs" / "versions_zh.md"}


def parse(argv=None):
    from versions.environments import OTHER_PYTHONS, PYTHON, SIZE, all_environments

    names = [environment.name for environment in all_environments(Path())]
    default = [f"python{version}" for version in (PYTHON, *OTHER_PYTHONS)]
    parser = argparse.ArgumentParser(prog="python tests/versions", description=__doc__)
    add = parser.add_argument
    add("--pythons", nargs="+", default=default, metavar="PATH", help="interpreters to make environments with (default: "
        f"{' '.join(default)})")  # fmt: skip
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}; the first is always run")
    add("--folder", type=Path, default=ROOT / "build" / "versions", help=f"for the environments, up to {SIZE / 1e9:.1f} GB "
        "each (default: build/versions)")  # fmt: skip
    add("--write", action="store_true", help="put the table into docs/versions.md and docs/versions_zh.md")
    args = parser.parse_args(argv)
    if args.write and args.only:
        parser.error("--write is for all of them: leave out --only")
    return args


def main(argv=None) -> int:
    args = parse(argv)
    from versions.environments import all_environments, find_pythons
    from versions.journey import Journey, Results
    from versions.table import table, write_into

    args.folder.mkdir(parents=True, exist_ok=True)
    first, *others = all_environments(args.folder.resolve())
    chosen = [first, *(each for each in others if not args.only or each.name in args.only)]
    pythons = find_pythons(args.pythons)
    if missing := sorted({each.python for each in chosen} - pythons.keys()):
        print(
            f"python tests/versions: no Python {', '.join(missing)} found: name it, --pythons PATH ...", file=sys.stderr
        )
        return 2
    results, reference = [], None
    for environment in chosen:
        print(f"{environment.name} ...", flush=True)
        environment.build(pythons[environment.python])
        record = Results(environment.name, environment.versions())
        journey = Journey(environment.interpreter, environment.folder / "work", record, reference)
        results.append(journey.run())
        reference = reference or journey.picture
        for kind in (record.refused, record.problems):
            print("".join(f"  {step}: {line}\n" for step, line in kind.items()), end="")
        print("".join(f"  not ours: {line}\n" for line in record.stray), end="", flush=True)
    print(table(results, "en"))
    if args.write:
        for language, path in DOCUMENTS.items():
            write_into(path, table(results, language))
    return int(any(not works(each) for each in results))


def works(results) -> bool:
    """Whether all steps ended well, every case of parity passed, and no warning came through."""
    passed, rows = results.parity or (0, 1)
    return passed == rows and not (results.refused or results.problems or results.stray)


if __name__ == "__main__":
    sys.exit(main())
