"""What is on the disk: compared with what was there before, and with what an undisturbed run makes."""

import hashlib
import os
from pathlib import Path

from faults.scenarios import KEPT

WEIGHTS = (".safetensors", ".pdparams")


def temporary(path: Path) -> bool:
    return path.name.startswith(".") or path.name.endswith(".part")


def snapshot(folder: Path) -> dict:
    """{path within the folder: hash}, but for temporary files."""
    found = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(root, name)
            if not temporary(path):
                found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def problems_of_files(folder: Path, before: dict, reference: dict) -> tuple[list, list]:
    """(lost, broken): files of `before` that are gone, and files that are neither as before nor as in the reference."""
    now = snapshot(folder)
    lost = [name for name in before if name not in now]
    broken = [name for name, value in now.items() if value not in (before.get(name), reference.get(name))]
    return lost, broken


def problems_of_checkpoints(run: Path, complete_before: list) -> tuple[list, list]:
    """(lost, broken): complete checkpoints that are gone without newer ones, and named ones that are not complete."""
    from ldm.training.whole import numbered, problem_of

    problems = {path.name: problem_of(path) for path in numbered(run)}
    broken = [f"{name}: {problem}" for name, problem in problems.items() if problem]
    now = [int(name.split("-")[1]) for name, problem in problems.items() if not problem]
    lost = [
        f"checkpoint-{step}"
        for step in complete_before[-KEPT:]
        if step not in now and sum(s > step for s in now) < KEPT
    ]
    return lost, broken


def complete_checkpoints(run: Path) -> list[int]:
    from ldm.training.whole import numbered, problem_of

    return [int(path.name.split("-")[1]) for path in numbered(run) if problem_of(path) is None]


def weights(run: Path) -> dict:
    """{file: hash} of a run's final weights, their average, and those of its last checkpoint."""
    last = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), default=run)
    paths = [path for folder in {run, last} for path in folder.iterdir() if path.suffix in WEIGHTS]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}
