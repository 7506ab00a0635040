"""Which file is checked by what, the run over a folder, and its report as a picture."""

from dataclasses import dataclass
from pathlib import Path

from ldm.common.atomic import atomic_path
from ldm.parity.diffusion import check_diffusion, check_sampling, check_training
from ldm.parity.networks import (
    check_clip_text,
    check_clip_vision,
    check_effnet,
    check_full_size,
    check_lora,
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
WIDTH, ROW_HEIGHT = 9.0, 0.3  # inches


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


def plot_rows(rows, path):
    """Draw every row that has a number to a PNG file, the rows of one file on one line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in rows if row.check is not None]
    files = list(dict.fromkeys(row.file for row in rows))
    figure, axes = pyplot.subplots(figsize=(WIDTH, 1.2 + ROW_HEIGHT * len(files)))
    for row in rows:
        line = files.index(row.file)
        error = max(row.check.error, 1e-9)  # exact agreement has no place on a logarithmic axis
        axes.plot(error, line, "o", color="tab:green" if row.check.passed else "tab:red", markersize=5, alpha=0.7)
        axes.plot(row.check.bound, line, "|", color="black", markersize=12)
    axes.set_xscale("log")
    axes.set_xlim(5e-10, 3e-4)
    axes.set_ylim(len(files) - 0.5, -0.5)
    axes.set_yticks(range(len(files)), files, fontsize=8)
    axes.set_xlabel("relative error against the reference release (dot) and its bound (bar); 1e-9: exact")
    passed = sum(row.check.passed for row in rows)
    axes.set_title(f"{passed} of {len(rows)} cases within their bound", fontsize=10)
    axes.grid(axis="x", color="0.93")
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90)
    pyplot.close(figure)
