"""One attempt: a folder whose program is killed several times at random moments, then brought to its end."""

import contextlib
import os
import random
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from faults import mounts
from faults.process import Program, adopt_orphans, descendants, left_behind
from faults.scenarios import WORK, Scenario
from faults.state import complete_checkpoints, problems_of_checkpoints, problems_of_files, snapshot, weights

SHARED_MEMORY = Path("/dev/shm")
GRACE, IMPORTS = 5.0, 30.0  # seconds in which what a killed program has started must end


@dataclass
class Result:
    """What became of one folder: how often it was killed, and whatever is wrong, by kind."""

    scenario: str
    number: int
    kills: int = 0
    problems: dict = field(
        default_factory=dict
    )  # {"lost": [...], "broken": ..., "left": ..., "differs": ..., "status": ...}
    parts: int = 0  # temporary files of killed programs that are still there

    def add(self, kind: str, what):
        if what:
            self.problems.setdefault(kind, []).extend(what)


@dataclass(frozen=True)
class Uninterrupted:
    """What a scenario makes when it is left alone, how long it takes, and the bytes of its largest file."""

    files: dict
    seconds: float
    largest: int


def begin(base: Path, scenario: Scenario, name: str) -> tuple[Path, dict]:
    """A new folder with what is there before the program starts, and a snapshot of that."""
    folder = base / "attempts" / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / WORK).mkdir(parents=True)
    scenario.prepare(base, folder / WORK)
    return folder, snapshot(folder / WORK)


def start(base, scenario, folder, plain=False, **options) -> list:
    """The program's process, or its ranks."""
    command = scenario.command(base, folder / WORK)
    if scenario.ranks == 1:
        return [Program(command, folder / "log", plain, **options)]
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", scenario.ranks, "--log_dir", folder / "ranks"]
    return [Program([*launch, *command], folder / "log", plain=True, env={"OMP_NUM_THREADS": "1"})]


def made(scenario, folder) -> dict:
    return weights(folder / WORK / "run") if scenario.training else snapshot(folder / WORK)


def uninterrupted(base: Path, scenario: Scenario) -> Uninterrupted:
    """Run a scenario to its end, alone."""
    adopt_orphans()
    folder, _ = begin(base, scenario, f"{scenario.name} uninterrupted")
    started = time.monotonic()
    [program] = start(base, scenario, folder)
    if status := program.wait():
        raise AssertionError(f"{scenario.name} ends with status {status}: {program.said()[-3000:]}")
    seconds = time.monotonic() - started
    left_behind()
    largest = max(path.stat().st_size for path in (folder / WORK).rglob("*") if path.is_file())
    return Uninterrupted(made(scenario, folder), seconds, largest)


def attempt(
    base: Path, scenario: Scenario, number: int, seed: int, most: int, reference: Uninterrupted, plain=False
) -> Result:
    """Kill the program up to `most` times, check after each, then let it end and compare with the uninterrupted run."""
    rng, result = random.Random(f"{scenario.name}/{seed}/{number}"), Result(scenario.name, number)
    adopt_orphans()
    private = mounts.own_mounts()
    if private:
        mounts.mount("tmpfs", SHARED_MEMORY, "tmpfs")
    folder, before = begin(base, scenario, f"{scenario.name} {number}")
    work = folder / WORK
    for _ in range(2 * most):
        if result.kills == most:
            break
        complete = complete_checkpoints(work / "run") if scenario.training else []
        [program] = start(base, scenario, folder, plain)
        wait_for_moment(rng, scenario, program, work, reference.seconds, plain)
        status = killed(rng, scenario, program)
        result.kills += status != 0
        if status == 0 and not scenario.training:
            shutil.rmtree(work)
            begin(base, scenario, folder.name)  # it was faster: from the beginning
        check_status(result, scenario, status, program)
        check_left(result, private, scenario)
        if scenario.training:
            lost, broken = problems_of_checkpoints(work / "run", complete)
        else:
            lost, broken = problems_of_files(work, before, reference.files)
        result.add("lost", lost)
        result.add("broken", broken)
        if status == 0:
            break
    finish(base, scenario, folder, result, reference, private)
    if not result.problems:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def killed(rng, scenario, program) -> int:
    """Send the signal, of several ranks to their launcher, to one of them or to all at once; the exit status."""
    number = signal.SIGTERM if scenario.terminate else signal.SIGKILL
    whom = rng.choice(("launcher", "rank", "all")) if scenario.ranks > 1 else "launcher"
    ranks = [pid for pid in descendants() if pid != program.pid]
    for pid in ranks[:1] if whom == "rank" else ranks if whom == "all" else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    if whom != "rank" or not ranks:
        program.kill(number)
    return program.wait(60)


def wait_for_moment(rng, scenario, program, work, seconds, plain):
    """Until a random moment of the run: most after something of it has appeared."""
    imports = 3.0 if plain or scenario.ranks > 1 else 0.0
    if rng.random() < 0.25:
        pause(program, rng.uniform(0, imports + seconds))
        return
    before, end = listing(work), time.monotonic() + 60
    while listing(work) == before and not program.ended() and time.monotonic() < end:
        time.sleep(0.0005)
    pause(program, rng.uniform(0, 0.6 * seconds) if scenario.training else abs(rng.gauss(0, 0.25 * seconds)))


def pause(program, seconds):
    end = time.monotonic() + seconds
    while not program.ended() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.002))


def listing(work: Path) -> list:
    """The names in the folder and in those in it."""
    return [
        entry
        for path in (work, *work.glob("*/"), *work.glob("run/.saving/"))
        if path.is_dir()
        for entry in os.listdir(path)
    ]


def check_status(result, scenario, status, program):
    """SIGKILL leaves no choice; SIGTERM is one line and 143, and no traceback."""
    if (
        status == -signal.SIGKILL or status == 0 or scenario.ranks > 1
    ):  # a launcher says in its own words that a rank was killed
        return
    said = program.said()
    if not scenario.terminate or status != 128 + signal.SIGTERM:
        result.add("status", [f"status {status}: {said[-1500:]}"])
    elif "Traceback (most recent call last)" in said:
        result.add("status", [f"a traceback at SIGTERM: {said[-1500:]}"])


def check_left(result, private, scenario):
    """No process and nothing in /dev/shm is left. Ranks may be importing Paddle still, and know nothing of their launcher."""
    result.add("left", left_behind(GRACE if scenario.ranks == 1 else IMPORTS))
    if private:
        result.add("left", [f"/dev/shm/{path.name}" for path in SHARED_MEMORY.iterdir()])
        for path in SHARED_MEMORY.iterdir():
            path.unlink()


def finish(base, scenario, folder, result, reference, private):
    """The same command once more, uninterrupted: it ends well, and with the files of the uninterrupted run."""
    [program] = start(base, scenario, folder)
    if status := program.wait():
        result.add("status", [f"the restart ends with status {status}: {program.said()[-1500:]}"])
    check_left(result, private, scenario)
    ours = made(scenario, folder)
    result.add("differs", [name for name in reference.files if ours.get(name) != reference.files[name]])
    result.add("differs", [f"{name}, which is new" for name in ours if name not in reference.files])
    result.parts = sum(1 for path in (folder / WORK).rglob("*") if path.name.endswith(".part"))
