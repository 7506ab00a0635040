"""Which file is checked by what, and the run over a folder."""

from dataclasses import dataclass
from pathlib import Path

from ldm.parity.clip import check_clip_text, check_clip_vision
from ldm.parity.diffusion import check_diffusion, check_sampling, check_training
from ldm.parity.lora import check_lora
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
    "clip_text": check_clip_text,
    "clip_vision": check_clip_vision,
    "diffusion": check_diffusion,
    "sampling": check_sampling,
    "training_stage_c": check_training,
    "lora": check_lora,
    "full_": check_full_size,
}
NOT_YET = ("controlnet",)


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
    if not full_size:
        files = [path for path in files if not path.name.startswith("full_")]
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no *.safetensors recordings{'' if full_size else ' but full-size ones'}."
        )
    return files


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
        record, done = Record(path), 0
        for result in check(record):
            done += 1
            yield Row(name, "ok" if result.passed else "MISS", result)
        unread = record.unread_outputs()
        if unread or not done:
            yield Row(
                name,
                "UNKNOWN",
                note=f"no check reads {', '.join(unread[:3]) or 'anything in it'} ({len(unread)} outputs)",
            )
    except (KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        yield Row(name, "ERROR", note=f"{type(error).__name__}: {error}")
