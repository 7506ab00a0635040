"""Checkpoints that are whole or not there: written in a staging folder, listed, flushed to disk, then renamed."""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Optional

from ldm.atomic import atomic_path

STAGING, MANIFEST = ".saving", "complete.json"
LAST_WRITTEN = "scheduler.pdparams"  # what PaddleNLP writes last into a checkpoint
REPLACED = "replaced-"


def numbered(folder) -> list[Path]:
    """The checkpoint-N folders in `folder`, by N."""
    paths = [path for path in Path(folder).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in paths if path.is_dir()), key=lambda path: int(path.name.split("-")[1]))


def problem_of(folder) -> Optional[str]:
    """Why a checkpoint folder is not whole, or None: every file of its list is there and has its size.

    A folder without a list is of an older version of this trainer, which wrote in place: it is whole if the file that
    was written last is.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        return None if _ends_like_pickle(folder / LAST_WRITTEN) else f"it has no {MANIFEST}, so its writing was cut off"
    for name, size in json.loads((folder / MANIFEST).read_text())["bytes"].items():
        if not (folder / name).is_file():
            return f"its {name} is missing"
        if (folder / name).stat().st_size != size:
            return f"its {name} has {(folder / name).stat().st_size} bytes instead of {size}"
    return None


def last_whole(folder, say=print) -> Optional[Path]:
    """The newest whole checkpoint in `folder`, or None; `say` is told of each newer one that is skipped."""
    for path in reversed(numbered(folder)):
        problem = problem_of(path)
        if problem is None:
            return path
        say(f"Skipping {path}: {problem}. It is written anew when the run gets there.")
    return None


def discard(folder, say=print):
    """Remove the checkpoints in `folder`, those of a run that is not gone on with: a later restart would find them."""
    for path in numbered(folder):
        say(f"Removing {path}: --overwrite_output_dir begins anew.")
        _remove(path)


def stage(final: Path) -> Path:
    """An empty staging folder; what is to become `final` is written into it under the name of `final`."""
    staging = final.parent / STAGING
    shutil.rmtree(staging / final.name, ignore_errors=True)
    staging.mkdir(parents=True, exist_ok=True)
    return staging


def finish(final: Path):
    """List the files of a staged checkpoint, make sure that they are on the disk, and give it its name."""
    staged = final.parent / STAGING / final.name
    files = sorted(path for path in staged.rglob("*") if path.is_file())
    for path in files:
        _flush(path)
    with atomic_path(staged / MANIFEST) as temporary:
        sizes = {str(path.relative_to(staged)): path.stat().st_size for path in files}
        temporary.write_text(json.dumps({"bytes": sizes}, indent=1) + "\n")
        _flush(temporary)
    _flush(staged)
    _publish(staged, final)


def tidy(folder, say=print):
    """Put right what a killed run has left in the staging folder: finish what is whole, remove the rest."""
    staging = Path(folder) / STAGING
    for staged in numbered(staging):
        if (staged / MANIFEST).is_file() and problem_of(staged) is None:
            _publish(staged, Path(folder) / staged.name)
        else:
            say(f"Removing {staged}: a run was stopped while it was written.")
    for replaced in staging.glob(f"{REPLACED}*"):
        final = Path(folder) / replaced.name.removeprefix(REPLACED)
        if not final.exists():
            os.rename(replaced, final)
    shutil.rmtree(staging, ignore_errors=True)


def rotate(folder, keep: Optional[int]):
    """Delete all but the `keep` newest whole checkpoints (None or 0: all are kept), and those that are not whole."""
    if not keep or keep < 0:
        return
    paths = sorted(numbered(folder), key=lambda path: path.stat().st_mtime)
    whole = [path for path in paths if problem_of(path) is None]
    for path in [path for path in paths if path not in whole[-keep:]]:
        _remove(path)


def _remove(path: Path):
    """Delete a checkpoint; renamed first: half-deleted it must not have its name."""
    doomed = path.parent / STAGING / f"deleted-{path.name}"
    shutil.rmtree(doomed, ignore_errors=True)
    doomed.parent.mkdir(exist_ok=True)
    os.rename(path, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _publish(staged: Path, final: Path):
    """Rename; an older folder of that name moves aside first and comes back in `tidy` if this is cut off."""
    replaced = staged.with_name(REPLACED + final.name)
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.rename(final, replaced)
    os.rename(staged, final)
    _flush(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _flush(path: Path):
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _ends_like_pickle(path: Path) -> bool:
    """Whether a pickle is there to its last byte, its STOP code."""
    return path.is_file() and path.read_bytes()[-1:] == b"."
