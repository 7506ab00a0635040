"""Which file is checked by what, and the run over a folder."""

from dataclasses import dataclass
from pathlib import Path

from ldm.parity.diffusion import check_diffusion, check_sampling, check_training
from ldm.parity.networks import (
    check_effnet,
    check_full_size,
    check_previewer,
    check_stage_a,
    check_stage_b,
    check_stage_c,
)
from ldm.parity.record import Check, Record

CHECKS = {  # by the beginning of the file's name, first match wins
    "stage_a": check_stage_a,
    "stage_b": check_stage_b,
    "stage_c": check_stage_c,
    "effnet": check_effnet,
    "previewer": check_previewer,
    "diffusion": check_diffusion,
    "sampling": check_sampling,
    "training_stage_c": check_training,
    "full_": check_full_size,
}
NOT_YET = ("controlnet", "lora")


@dataclass(frozen=True)
class Row:
    """One line of the report. `verdict` is ok, MISS, UNKNOWN, ERROR or not yet."""

    file: str
    verdict: str
    check: Check = None
    note: str = ""


def record_files(folder, full_size: bool = True) -> list[Path]:
    """The recordings of a folder, quick ones first, full-size ones last."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder of reference recordings.")
    files = sorted(folder.glob("*.safetensors"), key=lambda path: (path.name.startswith("full_"), path.name))
    if not files:
        raise FileNotFoundError(f"{folder} holds no *.safetensors recordings.")
    return files if full_size else [path for path in files if not path.name.startswith("full_")]


def check_file(path):
    """Rows of one file, as they come. A failure inside a check is a row too: the other files still count."""
    name = Path(path).stem
    if name.startswith(NOT_YET):
        yield Row(name, "not yet", note="no implementation in this release")
        return
    check = next((check for prefix, check in CHECKS.items() if name.startswith(prefix)), None)
    if check is None:
        yield Row(name, "UNKNOWN", note="no check knows this file")
        return
    try:
        done = 0
        for result in check(Record(path)):
            done += 1
            yield Row(name, "ok" if result.passed else "MISS", result)
        if not done:
            yield Row(name, "UNKNOWN", note="the file has no output that a check knows")
    except (KeyError, ValueError, FileNotFoundError) as error:
        yield Row(name, "ERROR", note=f"{type(error).__name__}: {error}")
