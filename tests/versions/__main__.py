"""Every PaddlePaddle and Python that this project is for: an environment for each, and what works there, as a table.

The environments (2.4 GB each) are kept in build/versions and used again. Exit status 1 where anything does not work.
"""

import argparse
import json
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
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}; the others' last results are "
        "taken. The first's picture is what the others' are compared with")  # fmt: skip
    add("--folder", type=Path, default=ROOT / "build" / "versions", help=f"for the environments, up to {SIZE / 1e9:.1f} GB "
        "each (default: build/versions)")  # fmt: skip
    add("--write", action="store_true", help="put the table into docs/versions.md and docs/versions_zh.md")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse(argv)
    from versions.environments import all_environments, find_pythons
    from versions.table import table, write_into

    args.folder.mkdir(parents=True, exist_ok=True)
    environments = all_environments(args.folder.resolve())
    chosen = [each for each in environments if not args.only or each.name in args.only]
    pythons = find_pythons(args.pythons)
    if missing := sorted({each.python for each in chosen} - pythons.keys()):
        print(
            f"python tests/versions: no Python {', '.join(missing)} found: name it, --pythons PATH ...", file=sys.stderr
        )
        return 2
    reference = environments[0].folder / "work" / "picture" / "result_0.png"
    for environment in chosen:
        print(f"{environment.name} ...", flush=True)
        environment.build(pythons[environment.python])
        travel(environment, reference)
    results = [kept(environment) for environment in environments]
    known = [each for each in results if each is not None]
    print(table(known, "en"))
    if args.write and len(known) < len(results):
        print("python tests/versions: --write needs results of all: run those that have none.", file=sys.stderr)
        return 2
    if args.write:
        for language, path in DOCUMENTS.items():
            write_into(path, table(known, language))
    return int(not all(works(each) for each in known))


def travel(environment, reference: Path):
    """Run all programs in an environment, and say what does not work."""
    from versions.journey import Journey, Results

    record = Results(environment.name, environment.versions())
    Journey(environment.interpreter, environment.folder / "work", record, reference).run()
    lines = [f"{step}: {line}" for kind in (record.refused, record.problems) for step, line in kind.items()]
    for line in (*lines, *(f"not ours: {line}" for line in record.stray)):
        print(f"  {line}", flush=True)


def kept(environment):
    """The results of the last run in an environment, or None."""
    from versions.journey import Results, kept_results

    path = kept_results(environment.folder / "work")
    return Results(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def works(results) -> bool:
    """Whether all steps ended well, every case of parity passed, and no warning came through."""
    passed, rows = results.parity or (0, 1)
    return passed == rows and not (results.refused or results.problems or results.stray)


if __name__ == "__main__":
    sys.exit(main())
