"""What is on the disk: compared with what was there before, and with what an uninterrupted run makes."""

import hashlib
import json
import os
from pathlib import Path

from fuzz.safetensors_damage import parse

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
                found[str(path.relative_to(folder))] = content(path)
    return found


def content(path: Path) -> str:
    """A hash of a file; of a safetensors file, of what it says, as the package hands its metadata out in any order."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return hashlib.sha256(data).hexdigest()
    try:
        header, values = parse(data)
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        if len(values) != max(ends, default=0):
            return f"{len(values)} bytes instead of {max(ends, default=0)}"
    except ValueError as error:
        return f"no safetensors file: {error}"
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode() + values).hexdigest()


def problems_of_files(folder: Path, before: dict, reference: dict) -> tuple[list, list]:
    """(lost, broken): files of `before` that are gone, and files that are neither as before nor as in the reference."""
    now = snapshot(folder)
    lost = [name for name in before if name not in now]
    broken = [name for name, value in now.items() if value not in (before.get(name), reference.get(name))]
    return lost, broken


def problems_of_checkpoints(run: Path, complete_before: list) -> tuple[list, list]:
    """(lost, broken): complete checkpoints that are gone without newer ones, and named ones that are not complete."""
    from ldm.training.checkpoints.staging import checkpoint_folders, problem_of

    problems = {path.name: problem_of(path) for path in checkpoint_folders(run)}
    broken = [f"{name}: {problem}" for name, problem in problems.items() if problem]
    now = [int(name.split("-")[1]) for name, problem in problems.items() if not problem]
    lost = [
        f"checkpoint-{step}"
        for step in complete_before[-KEPT:]
        if step not in now and sum(s > step for s in now) < KEPT
    ]
    return lost, broken


def complete_checkpoints(run: Path) -> list[int]:
    from ldm.training.checkpoints.staging import checkpoint_folders, problem_of

    return [int(path.name.split("-")[1]) for path in checkpoint_folders(run) if problem_of(path) is None]


def weights(run: Path) -> dict:
    """{file: hash} of a run's final weights, their average, and those of its last checkpoint."""
    last = max(run.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]), default=run)
    paths = [path for folder in {run, last} for path in folder.iterdir() if path.suffix in WEIGHTS]
    return {str(path.relative_to(run)): content(path) for path in sorted(paths)}
