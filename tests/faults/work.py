"""All attempts of a call: made, run some at a time, counted."""

import math
import sys
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

from fuzz.forks import Died, each_in_forks, in_fork

from faults import attempt, disks
from faults.process import Program
from faults.scenarios import earlier_runs, make_inputs

SECONDS = 600  # for one folder
PROBLEMS = ("lost", "broken", "differs", "left", "status")


class Work:
    """The attempts of a command line `args`. base: a folder for inputs and attempts."""

    def __init__(self, base: Path, scenarios, args):
        self.base, self.scenarios, self.args = base, scenarios, args
        self.references, self.numbers = {}, Counter()

    def prepare(self):
        """Make the inputs and what earlier runs left, and every scenario's uninterrupted run."""
        checked(in_fork(lambda: make_inputs(self.base), SECONDS), "the inputs")
        checked(in_fork(self._earlier_runs, SECONDS), "the earlier runs")
        work = [(scenario, [None]) for scenario in self.scenarios]
        runs = each_in_forks(
            lambda scenario, _: attempt.uninterrupted(self.base, scenario), work, self.args.jobs, SECONDS
        )
        for scenario, _, reference in runs:
            self.references[scenario.name] = checked(reference, scenario.name)

    def _earlier_runs(self):
        for command in earlier_runs(self.base):
            program = Program(command, self.base / "earlier.log")
            if status := program.wait():
                raise SystemExit(f"{command} ends with status {status}: {program.said()[-3000:]}")
        (self.base / "all_features" / "cache").rename(self.base / "features")

    def run(self) -> list:
        """Kill until every scenario has its share of kills; then the disks."""
        from tqdm.auto import tqdm

        results, quotas = [], self._quotas()
        with tqdm(total=sum(quotas.values()), unit="kill", mininterval=0.5 if sys.stderr.isatty() else 20) as bar:
            for _ in range(20):  # a program may be faster than the moment it was to be killed at
                done = Counter()
                for result in results:
                    done[result.scenario] += result.kills
                work = self._attempts({name: quota - done[name] for name, quota in quotas.items()})
                if not work:
                    break
                for result in self._each(work):
                    results.append(result)
                    bar.update(result.kills)
                    self._say(bar, result)
        with tqdm(total=None, unit="disk", mininterval=0.5 if sys.stderr.isatty() else 20) as bar:
            for result in self._each(self._disks()):
                results.append(result)
                bar.update()
                self._say(bar, result)
        return results

    def _say(self, bar, result):
        for kind, what in result.problems.items():
            bar.write(f"{result.scenario} {result.number}: {kind}: {str(what[0])[-160:]!r}")

    def _each(self, work):
        for key, _, result in each_in_forks(
            lambda key, _: key(), [(key, [None]) for key in work], self.args.jobs, SECONDS
        ):
            if isinstance(result, Died):
                name = key.args[1].name
                result = attempt.Result(name, -1, 0, {"status": [f"the attempt itself: {result.why}"]})
            yield result

    def _quotas(self) -> dict:
        total = sum(scenario.share for scenario in self.scenarios)
        return {scenario.name: math.ceil(self.args.kills * scenario.share / total) for scenario in self.scenarios}

    def _attempts(self, missing: dict) -> list:
        """Attempts for so many kills of each scenario, scenarios in turn."""
        queues = []
        for scenario in self.scenarios:
            left, queue = missing[scenario.name], []
            while left > 0:
                number, most = self.numbers[scenario.name], min(left, scenario.kills)
                self.numbers[scenario.name] += 1
                plain = self.args.plain > 0 and number % round(1 / self.args.plain) == 0
                queue.append(partial(attempt.attempt, self.base, scenario, number, self.args.seed, most,
                                     self.references[scenario.name], plain))  # fmt: skip
                left -= most
            queues.append(queue)
        return [
            queue[turn] for turn in range(max(map(len, queues), default=0)) for queue in queues if turn < len(queue)
        ]

    def _disks(self) -> list:
        """Scenarios in turn on full disks, read-only folders and with little memory."""
        chosen = [scenario for scenario in self.scenarios if scenario.ranks == 1 and not scenario.terminate]
        numbers = {
            "full disk": self.args.disks,
            "read-only folder": self.args.disks // 3,
            "little memory": self.args.disks // 3,
        }
        return [partial(disks.attempt, self.base, scenario, way, number, self.args.seed, self.references[scenario.name])
                for way, total in numbers.items() for number in range(total if chosen else 0)
                for scenario in [chosen[number % len(chosen)]]]  # fmt: skip

    def table(self, results) -> str:
        """Scenarios by what was wrong in how many folders."""
        columns = ("folders", "kills", "survived", *PROBLEMS)
        rows, parts = defaultdict(Counter), 0
        for result in results:
            parts += result.parts
            for name in (result.scenario, "all"):
                rows[name]["folders"] += 1
                rows[name]["kills"] += result.kills
                rows[name]["survived"] += not result.problems
                for kind in PROBLEMS:
                    rows[name][kind] += len(result.problems.get(kind, ()))
        rows["all"] = rows.pop("all", Counter())
        lines = [f"{'':28}" + "".join(f"{column:>10}" for column in columns)]
        lines += [f"{name:28}" + "".join(f"{row[column]:10}" for column in columns) for name, row in rows.items()]
        return "\n".join([*lines, f"{parts} temporary files of killed programs were still there at the end."])


def checked(value, what):
    if isinstance(value, Died):
        raise SystemExit(f"{what}: {value.why}; its output is above.")
    return value
