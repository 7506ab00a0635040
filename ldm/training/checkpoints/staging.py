"""Checkpoints that are complete or not there: written in a staging folder, listed with checksums, flushed, then renamed."""

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Optional

from ldm.common.atomic import atomic_path
from ldm.common.hashing import sha256_of
from ldm.common.json_files import read_json

STAGING, MANIFEST = ".saving", "complete.json"
LAST_WRITTEN = "scheduler.pdparams"  # what PaddleNLP writes last into a checkpoint
REPLACED = "replaced-"
EVIDENCE = "non_finite"  # folder of checkpoints with NaN or infinity, which are never resumed from


def checkpoint_folders(folder) -> list[Path]:
    """The checkpoint-N folders in `folder`, by N."""
    paths = [path for path in Path(folder).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted((path for path in paths if path.is_dir()), key=lambda path: int(path.name.split("-")[1]))


def problem_of(folder, contents: bool = False, only=None) -> Optional[str]:
    """Why a checkpoint folder is not complete, or None: every file of its list is there and has its size.

    contents: and its checksum too, which reads all of it, or of the files `only`. A folder without a list is of an older
    version of this trainer, which wrote in place: it is complete if the file that was written last is. Lists of older
    versions have no checksums.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        return None if _ends_like_pickle(folder / LAST_WRITTEN) else f"it has no {MANIFEST}, so its writing was cut off"
    try:
        sizes, sums = _listed(folder / MANIFEST)
    except (ValueError, OSError) as error:
        return str(error).rstrip(".")
    for name, size in sizes.items():
        if not (folder / name).is_file():
            return f"its {name} is missing"
        if (folder / name).stat().st_size != size:
            return f"its {name} has {(folder / name).stat().st_size} bytes instead of {size}"
    if not contents:
        return None
    read = {name: folder / name for name in sums if only is None or name in only}
    changed = [name for name, found in _sums_of(read).items() if found != sums[name]]
    return f"its {changed[0]} is not what was written: its checksum differs" if changed else None


def check_listed(path):
    """ValueError unless a checkpoint's file is what its folder's list says; output folders have no list.

    Costs reading the file once more: a second for about 1.5 GB.
    """
    path = Path(path)
    if not path.with_name(MANIFEST).is_file() or not path.is_file():
        return
    if problem := problem_of(path.parent, contents=True, only={path.name}):
        raise ValueError(f"{path.parent} is not complete: {problem}. Take another checkpoint.")


def _listed(path: Path) -> tuple[dict, dict]:
    """{file: bytes} and {file: sha256} of a checkpoint's list; ValueError for anything that is no such list."""
    listed = read_json(path)
    sizes, sums = listed.get("bytes"), listed.get("sha256", {})
    if not (isinstance(sizes, dict) and isinstance(sums, dict) and sizes):
        raise ValueError(f"its {path.name} is no list of files")
    for name, size in sizes.items():
        parts = PurePosixPath(name).parts
        if type(size) is not int or not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise ValueError(f"its {path.name} lists {name[:80]!r} with {str(size)[:40]} bytes, which is no file of it")
    if not sums.keys() <= sizes.keys():
        raise ValueError(f"its {path.name} has checksums of files that it does not list")
    return sizes, sums


def _sums_of(paths: dict) -> dict:
    """{name: sha256} of files {name: path}, several read at the same time."""
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(paths, pool.map(sha256_of, paths.values())))


def last_complete(folder, log=print) -> Optional[Path]:
    """The newest complete checkpoint in `folder`, or None; `log` gets a line for each newer one that is skipped."""
    for path in reversed(checkpoint_folders(folder)):
        problem = problem_of(path, contents=True)
        if problem is None:
            return path
        log(f"Skipping {path}: {problem}. It is written anew when the run gets there.")
    return None


def discard(folder, log=print):
    """Remove the checkpoints in `folder`, those of a run that is not gone on with: a later restart would find them."""
    for path in checkpoint_folders(folder):
        log(f"Removing {path}: --overwrite_output_dir begins anew.")
        _remove(path)


def stage(final: Path) -> Path:
    """An empty staging folder; what is to become `final` is written into it under the name of `final`."""
    staging = final.parent / STAGING
    shutil.rmtree(staging / final.name, ignore_errors=True)
    staging.mkdir(parents=True, exist_ok=True)
    return staging


@contextmanager
def staged_for(final: Path):
    """Around the writing of a staged checkpoint: where the disk is full, what there is of it goes, and the error says so."""
    try:
        yield
    except OSError as error:
        shutil.rmtree(final.parent / STAGING / final.name, ignore_errors=True)
        raise OSError(
            f"{final} could not be written ({error.strerror or error}). Earlier checkpoints are as they were: free some space "
            "(or lower --save_total_limit), then run the same command again, which goes on from the last one."
        ) from error


def finish(final: Path):
    """List the files of a staged checkpoint, make sure that they are on the disk, and give it its name."""
    staged = final.parent / STAGING / final.name
    files = {str(path.relative_to(staged)): path for path in sorted(staged.rglob("*")) if path.is_file()}
    for path in files.values():
        _flush(path)
    with atomic_path(staged / MANIFEST) as temporary:
        sizes = {name: path.stat().st_size for name, path in files.items()}
        temporary.write_text(json.dumps({"bytes": sizes, "sha256": _sums_of(files)}, indent=1) + "\n")
        _flush(temporary)
    _flush(staged)
    _publish(staged, final)


def set_aside(final: Path) -> Path:
    """Give a staged checkpoint with NaN or infinity a name under which no run finds it; that of one before is replaced."""
    kept = final.parent / EVIDENCE / final.name
    shutil.rmtree(kept.parent, ignore_errors=True)
    kept.parent.mkdir(parents=True)
    os.rename(final.parent / STAGING / final.name, kept)
    return kept


def tidy(folder, log=print):
    """Put right what a killed run has left in the staging folder: finish what is complete, remove the rest."""
    staging = Path(folder) / STAGING
    for staged in checkpoint_folders(staging):
        if (staged / MANIFEST).is_file() and problem_of(staged, contents=True) is None:
            _publish(staged, Path(folder) / staged.name)
        else:
            log(f"Removing {staged}: a run was stopped while it was written.")
    for replaced in staging.glob(f"{REPLACED}*"):
        final = Path(folder) / replaced.name.removeprefix(REPLACED)
        if not final.exists():
            os.rename(replaced, final)
    shutil.rmtree(staging, ignore_errors=True)


def rotate(folder, keep: Optional[int]):
    """Delete all but the `keep` newest complete checkpoints (None or 0: all are kept), and those that are not complete."""
    if not keep or keep < 0:
        return
    paths = sorted(checkpoint_folders(folder), key=lambda path: path.stat().st_mtime)
    complete = [path for path in paths if problem_of(path) is None]
    for path in [path for path in paths if path not in complete[-keep:]]:
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
