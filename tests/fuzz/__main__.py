"""Damaged files and flags through the programs: a table of what came of them; exit status 1 if any was not refused well.

A failing input comes again with the same --kind, --seed and --number.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:1] = [str(ROOT / "tests"), str(ROOT)]  # Python puts tests/fuzz there
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # the processes share the cores, and the forks need a parent that computed nothing


def parse(argv=None):
    from fuzz.kinds import KINDS

    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=__doc__)
    add = parser.add_argument
    add("--inputs", type=int, default=5000, help="how many (default: %(default)s)")
    add("--minutes", type=float, help="stop after so many instead; 0: go on until interrupted")
    add("--seed", type=int, default=0, help="(default: %(default)s)")
    add("--kind", nargs="+", choices=KINDS, metavar="KIND", help=f"of {', '.join(KINDS)} (default: all)")
    add("--number", type=int, help="this one input alone, with everything that was said")
    add("--corpus", action="store_true", help="before these, every past finding once; alone with --inputs 0")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes at a time (default: %(default)s)")
    add("--report", type=Path, help="write every distinct failure, with the command that shows it again, as Markdown")
    add("--results", type=Path, default=ROOT / "build" / "fuzz", help="where failing inputs go (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None) -> int:
    from fuzz.forks import prepare_forks
    from ldm.common.runtime import prepare

    prepare()
    prepare_forks()
    args = parse(argv)
    load_everything()
    from fuzz import templates
    from fuzz.forks import Died, in_fork
    from fuzz.kinds import KINDS
    from fuzz.outcomes import outcome_of
    from fuzz.run import Run

    kinds = [KINDS[name] for name in args.kind or KINDS]
    base = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        run = Run(base, args.results, args.seed)
        made = in_fork(lambda: outcome_of(lambda: templates.make(base)), 600)
        if isinstance(made, Died) or made.status != 0:
            raise SystemExit(f"The undamaged inputs cannot be made: {getattr(made, 'output', made)}")
        run.learn(kinds, args.jobs)
        if args.number is not None:
            return one_input(run, kinds, args.number)
        failed = past_findings(run, args) if args.corpus else 0
        return failed | (many(run, kinds, args) if args.inputs else 0)
    finally:
        templates.remove(base)


def load_everything():
    """Import what the programs import, once for all forks."""
    import paddle  # noqa: F401
    import paddlenlp.trainer  # noqa: F401
    import paddlenlp.transformers  # noqa: F401
    from paddlenlp.transformers import CLIPTokenizer  # noqa: F401

    import ldm.pipeline  # noqa: F401
    import ldm.programs.cache_features  # noqa: F401
    import ldm.programs.generate  # noqa: F401
    from ldm.training.tasks import prior  # noqa: F401


def one_input(run, kinds, number: int) -> int:
    failed = False
    for kind in kinds:
        [finding] = run.try_all([(kind, [number])])
        print(f"{kind.name} {number}: {finding.note}: {finding.verdict}\n{finding.why}")
        failed |= finding.failed
    return int(failed)


def past_findings(run, args) -> int:
    """Every past finding once; a line of JSON for each."""
    from fuzz.corpus import FINDINGS

    failed = 0
    for name, finding in run.replay(FINDINGS, args.jobs):
        failed += finding.failed
        print(
            json.dumps(
                {"finding": name, "verdict": finding.verdict, "failed": finding.failed, "why": finding.last[:500]}
            ),
            flush=True,
        )
    print(f"{len(FINDINGS)} past findings, {failed} failed")
    return int(failed > 0)


def many(run, kinds, args) -> int:
    from tqdm.auto import tqdm

    from fuzz.run import batches, report, table

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the table of what has been tried
    findings, seen, first, started = [], set(), 0, time.monotonic()
    deadline = started + args.minutes * 60 if args.minutes else float("inf")
    endless = args.minutes is not None
    with tqdm(
        total=None if endless else args.inputs, unit="input", mininterval=0.5 if sys.stderr.isatty() else 10
    ) as bar:
        try:
            while not first or endless and time.monotonic() < deadline:
                for finding in run.try_all(batches(kinds, args.inputs, first), args.jobs):
                    findings.append(finding)
                    bar.update()
                    if finding.failed and finding.signature not in seen:
                        seen.add(finding.signature)
                        bar.write(
                            f"{finding.verdict:9} {finding.kind} {finding.number} ({finding.note}): {finding.last:.200}"
                        )
                    if time.monotonic() > deadline:
                        break
                first += args.inputs
        except KeyboardInterrupt:
            pass
    print(table(findings))
    if args.report:
        args.report.write_text(report(findings, args.seed), encoding="utf-8", errors="backslashreplace")
    failures = [finding for finding in findings if finding.failed]
    if failures:
        print(
            f"{len(failures)} failed, {len(seen)} differently; inputs in {args.results}. One again: python tests/fuzz "
            f"--seed {args.seed} --kind {failures[0].kind} --number {failures[0].number}"
        )
    print(f"{len(findings)} inputs in {time.monotonic() - started:.0f} s, seed {args.seed}")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
