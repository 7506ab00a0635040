"""Programs killed at random moments, on full disks, in read-only folders, with little memory: a table of what is lost.

After each kill every earlier file must be there and every named one complete; brought to its end, each run must make the
very bytes of the uninterrupted one, and leave no process and nothing in /dev/shm behind. Exit status 1 where anything does not.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT / "tests"), str(ROOT)]  # Python puts tests/faults there
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two programs share the cores; the same bits in every run


def parse(argv=None):
    from faults.scenarios import SCENARIOS

    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    add = parser.add_argument
    add("--kills", type=int, default=400, help="how many (default: %(default)s)")
    add("--disks", type=int, default=20, help="full disks; a third as many read-only folders, and as many runs with little "
        "memory (default: %(default)s)")  # fmt: skip
    add("--seed", type=int, default=0, help="(default: %(default)s)")
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of {'; '.join(names)}")
    add("--plain", type=float, default=0.05, help="share of the folders whose program is started as a command line instead of "
        "forked from a process that has imported Paddle already (default: %(default)s)")  # fmt: skip
    add("--jobs", type=int, default=2, help="programs at a time (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    args = parse(argv)
    from fuzz.forks import prepare_forks

    from ldm.common.runtime import prepare

    prepare()
    prepare_forks()
    import_everything()
    from faults.scenarios import SCENARIOS
    from faults.work import Work

    scenarios = [scenario for scenario in SCENARIOS if not args.only or scenario.name in args.only]
    started = time.monotonic()
    base = tempfile.mkdtemp(
        prefix="faults-"
    )  # no TemporaryDirectory: forked programs run what is registered for the exit
    try:
        work = Work(Path(base), scenarios, args)
        work.prepare()
        results = work.run()
    finally:
        shutil.rmtree(base, ignore_errors=True)
    print(work.table(results))
    bad = [result for result in results if result.problems]
    for result in bad:
        for kind, what in result.problems.items():
            more = f" and {len(what) - 1} more" if what[1:] else ""
            print(f"{result.scenario} {result.number}, {kind}: {str(what[0])[-700:]}{more}")
    print(f"{sum(r.kills for r in results)} attempts in {time.monotonic() - started:.0f} s, seed {args.seed}")
    return int(bool(bad))


def import_everything():
    """What the programs import, once for all of them."""
    import paddlenlp.trainer  # noqa: F401
    import paddlenlp.transformers  # noqa: F401
    from paddlenlp.transformers import CLIPTokenizer  # noqa: F401

    import ldm.adapters.convert  # noqa: F401
    import ldm.pipeline  # noqa: F401
    import ldm.training.run  # noqa: F401
    import ldm.weights.convert  # noqa: F401
    from ldm.training.tasks import prior  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
