"""Full disks, read-only folders and too little memory: one line, status 2, everything that was there before is there."""

import os
import random
import re
import shutil
from pathlib import Path

from faults import mounts
from faults.attempt import Result, Uninterrupted, begin, made, start
from faults.process import adopt_orphans, left_behind
from faults.scenarios import WORK, Scenario
from faults.state import complete_checkpoints, problems_of_checkpoints, problems_of_files

PAGE = 4096
REMEDIES = re.compile(r"free|room|space|disk|folder|smaller|less|memory|give|choose|writ", re.I)


def attempt(base: Path, scenario: Scenario, way: str, number: int, seed: int, reference: Uninterrupted) -> Result:
    """Run a scenario once on a full disk, a read-only folder or with little memory, then once more as it should be."""
    rng, result = random.Random(f"{scenario.name}/{way}/{seed}/{number}"), Result(f"{way}", number)
    adopt_orphans()
    if not mounts.own_mounts():
        result.add("skipped", ["this system allows no mounts of one's own"])
        return result
    mounts.mount("tmpfs", "/dev/shm", "tmpfs")
    folder, before = begin(base, scenario, f"{scenario.name} {way} {number}")
    work, options = folder / WORK, {}
    if way == "little memory":
        options["memory"] = int(rng.uniform(5, 400) * 2**20)
    else:
        spoil(rng, scenario, work, way, reference)
    [program] = start(base, scenario, folder, **options)
    status = program.wait(120)
    result.kills = 1
    result.add("status", problems_of_ending(status, program.said(), way, work))
    result.add("left", left_behind())
    if scenario.training:
        lost, broken = problems_of_checkpoints(work / "run", complete_checkpoints(work / "run"))
    else:
        lost, broken = problems_of_files(work, before, reference.files)
    result.add("lost", lost)
    result.add("broken", broken)
    if way == "full disk":
        mounts.small_disk(work, 1 << 30, again=True)
    elif way == "read-only folder":
        mounts.unmount(work)
    [program] = start(base, scenario, folder)
    if status := program.wait():
        result.add("status", [f"the restart ends with status {status}: {program.said()[-1500:]}"])
    left_behind()
    ours = made(scenario, folder)
    result.add("differs", [name for name in reference.files if ours.get(name) != reference.files[name]])
    return result


def spoil(rng, scenario, work, way, reference):
    """Put a disk with too little room, or a read-only one, in the place of the folder."""
    kept = work.with_name("kept")
    os.rename(work, kept)
    work.mkdir()
    if way == "full disk":  # no room for the largest file that is to be written
        used = sum(-(-path.stat().st_size // PAGE) * PAGE for path in kept.rglob("*") if path.is_file())
        mounts.small_disk(work, used + max(1, int(rng.uniform(0.02, 0.9) * reference.largest / PAGE)) * PAGE)
    shutil.copytree(kept, work, dirs_exist_ok=True)
    if way == "read-only folder":
        mounts.read_only(work)
    shutil.rmtree(kept)


def problems_of_ending(status: int, said: str, way: str, work: Path) -> list[str]:
    """What is wrong with how it ended: status 2 and one line with a file and a remedy, or, with memory, success."""
    if "Traceback (most recent call last)" in said:
        return [f"a traceback: {said[-1200:]}"]
    if status == 0 and way == "little memory":
        return []
    if status != 2:
        return [f"status {status}: {said[-1200:]}"]
    from fuzz.outcomes import said_last

    line = said_last(said)
    if not line or line.count("\n") > 12:
        return [f"no one line: {said[-600:]}"]
    if way != "little memory" and str(work) not in line:
        return [f"names no file: {line[:600]}"]
    return [] if REMEDIES.search(line.partition(": ")[2]) else [f"no remedy: {line[:600]}"]
