"""A run of the harness: which inputs, in how many processes, what came out."""

import random
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fuzz import templates
from fuzz.case import Kind
from fuzz.forks import Died, each_in_forks, in_fork
from fuzz.kinds import KINDS
from fuzz.outcomes import outcome_of, taken_down
from fuzz.verdicts import CRASH, FAILURES, REFUSAL, SAME, judge

EXCUSED = "excused"
MARKER = "executed"  # what hostile code would make, in the folder of its input


@dataclass(frozen=True)
class Finding:
    """One judged input."""

    kind: str
    number: int
    note: str
    verdict: str
    why: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return self.verdict in FAILURES

    @property
    def last(self) -> str:
        """The last line of what is wrong."""
        return (self.why.strip().splitlines() or [""])[-1]

    @property
    def signature(self) -> tuple:
        """What findings of one cause have in common."""
        return self.kind, self.verdict, re.sub(r"[^ ]*[\d/'\"][^ ]*", "#", self.last)[:100]


@dataclass
class Run:
    """Inputs of one seed. base: the templates; results: where failing inputs are kept."""

    base: Path
    results: Path
    seed: int
    undamaged: dict = field(default_factory=dict)

    def learn(self, kinds, jobs: int = 1):
        """Read the undamaged input of every kind: what damaged ones are compared with."""
        work = [(kind, [None]) for kind in kinds]
        read = each_in_forks(lambda kind, _: outcome_of(lambda: kind.read(self._undamaged_input(kind))), work, jobs)
        for kind, _, outcome in read:
            if isinstance(outcome, Died) or outcome.status != 0:
                raise AssertionError(f"The undamaged {kind.name} is not read: {getattr(outcome, 'output', outcome)}")
            self.undamaged[kind.name] = outcome.result

    def _undamaged_input(self, kind: Kind):
        from fuzz.case import Input

        return Input(templates.copy(self.base, kind.template, self.base / "undamaged" / kind.name), "undamaged")

    def replay(self, findings: dict, jobs: int = 1):
        """Yield (name, Finding) of every past finding {name: fuzz.corpus.Finding}."""
        work = [(KINDS[past.kind], [name]) for name, past in findings.items()]
        for kind, name, value in each_in_forks(
            lambda kind, name: self.judged(kind, f"corpus-{list(findings).index(name)}", findings[name].damage),
            work,
            jobs,
        ):
            yield name, Finding(kind.name, -1, name, CRASH, value.why) if isinstance(value, Died) else value

    def try_all(self, work, jobs: int = 1):
        """Yield a Finding for every number of the batches (kind, numbers)."""
        for kind, number, value in each_in_forks(self.try_one, work, jobs):
            yield self._confirmed(kind, number, value) if isinstance(value, Died) else value

    def _confirmed(self, kind: Kind, number: int, died: Died) -> Finding:
        """Alone once more: whether it was this input, or one before it in the same process."""
        again = in_fork(lambda: self.try_one(kind, number))
        if isinstance(again, Died):
            return Finding(kind.name, number, "?", CRASH, f"{again.why}, alone too")
        return Finding(kind.name, number, again.note, CRASH, f"{died.why}, but not alone: then {again.verdict}")

    def try_one(self, kind: Kind, number: int) -> Finding:
        """Damage, read and judge one input, in this process."""
        rng = random.Random(f"{kind.name}/{self.seed}/{number}")
        return self.judged(kind, f"{kind.name}-{number}", lambda folder: kind.damage(rng, folder), number)

    def judged(self, kind: Kind, name: str, damage, number: int = -1) -> Finding:
        """What a program makes of a copy of the templates that damage(folder) -> Input changes."""
        started, folder = time.monotonic(), templates.copy(self.base, kind.template, self.base / "inputs" / name)
        with taken_down([]):
            input = damage(folder)
        outcome = outcome_of(lambda: kind.read(input))
        verdict, why = judge(kind, input, outcome, self.undamaged[kind.name], folder / MARKER)
        if verdict in FAILURES and input.after:
            self.results.mkdir(parents=True, exist_ok=True)
            (self.results / f"{name}-{self.seed}-{input.file.name}").write_bytes(input.after)
        templates.remove(folder)
        return Finding(kind.name, number, input.note, verdict, why, time.monotonic() - started)


def batches(kinds, count: int, first: int = 0) -> list[tuple[Kind, range]]:
    """`count` inputs over the kinds by their shares, at least one of each, in batches that take turns."""
    total = sum(kind.share for kind in kinds)
    queues = []
    for kind in kinds:
        number = max(1, round(count * kind.share / total))
        queues.append(
            [(kind, range(first + i, first + min(i + kind.batch, number))) for i in range(0, number, kind.batch)]
        )
    return [batch for turn in range(max(map(len, queues))) for queue in queues for batch in queue[turn : turn + 1]]


def table(findings) -> str:
    """Kinds by verdicts; below, how often which difference was excused."""
    columns = (REFUSAL, SAME, EXCUSED, *FAILURES)
    counts, excuses = Counter(), Counter()
    for finding in findings:
        excused = finding.verdict not in columns
        excuses[finding.verdict] += excused
        for kind in (finding.kind, "all"):
            counts[kind, EXCUSED if excused else finding.verdict] += 1
    lines = [f"{'kind':22} {'inputs':>6}  " + "  ".join(f"{column:>{max(6, len(column))}}" for column in columns)]
    for kind in [*dict.fromkeys(finding.kind for finding in findings), "all"]:
        numbers = [counts[kind, column] for column in columns]
        cells = "  ".join(f"{number or '.':>{max(6, len(column))}}" for number, column in zip(numbers, columns))
        lines.append(f"{kind:22} {sum(numbers):6}  {cells}")
    lines += ["", "Excused, because the format cannot know:"]
    return "\n".join(lines + [f"  {number:5}  {excuse}" for excuse, number in excuses.most_common() if number])


def report(findings, seed: int) -> str:
    """Every distinct failure with the command that shows it again, as Markdown."""
    distinct = {}
    for finding in findings:
        if finding.failed:
            distinct.setdefault(finding.signature, []).append(finding)
    lines = [
        f"# {sum(map(len, distinct.values()))} failures, {len(distinct)} of them different, of {len(findings)} inputs",
        "",
    ]
    for (kind, verdict, _), alike in sorted(distinct.items(), key=lambda entry: (entry[0][:2], -len(entry[1]))):
        first = alike[0]
        lines.append(f"- **{kind}, {verdict}** ({len(alike)} x), {first.note[:120]!r}: `{first.last[:300]}`  ")
        lines.append(f"  `python tests/fuzz --seed {seed} --kind {kind!r} --number {first.number}`")
    return "\n".join(lines) + "\n"
