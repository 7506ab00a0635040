"""Which weights a run starts from: file, network, version, precision, layout and a hash to compare by."""

import hashlib
from pathlib import Path

import numpy as np

from ldm.common.hashing import sha256_of
from ldm.common.preflight_report import Report
from ldm.training.checkpoints.files import check_networks
from ldm.training.task import Task
from ldm.weights.detect import TELLING_KEYS, detect_network, version_of_shapes
from ldm.weights.files import TensorFile
from ldm.weights.plan import is_paddle_layout
from ldm.weights.release import OUTPUT_SIZE_KEY, network_config, output_size

CHEAP = 1 << 28  # bytes of a file that is hashed whole; of larger ones the header alone


def check_weights(report: Report, task: Task, checkpoint=None):
    """The files that a model was read from, and the checkpoint that is continued: it must be of the same kind of run."""
    for path in weight_files(task):
        report.say("weights", identity(path))
    check_image_size(report, task)
    if checkpoint is None:
        return
    report.say("resumes from", str(checkpoint))
    try:
        check_networks(checkpoint, task.networks)
    except ValueError as error:
        report.problem(str(error))


def check_image_size(report: Report, task: Task):
    """A prior that is taught another size than it was trained for: meant by some, an oversight of others."""
    taught = {int(entry.notes[OUTPUT_SIZE_KEY]) for entry in task.networks.values() if OUTPUT_SIZE_KEY in entry.notes}
    if taught and (trained_for := output_size(task.stage.unet_path)) not in taught:
        report.warn(
            f"{task.stage.unet_path} was trained for images of {trained_for} px and is taught {min(taught)} px now; "
            f"--output_size {trained_for} keeps to its size."
        )


def weight_files(task: Task) -> list[Path]:
    """The files of what is trained, and of the semantic encoder that it is trained behind."""
    return [*map(Path, task.files), *([task.frozen.release.file("effnet")] if task.frozen is not None else [])]


def files_read(task: Task) -> list[Path]:
    """Every file that weights have been read from, those of the frozen networks in use too."""
    frozen = task.frozen
    around = [path for kind in frozen.loaded for path in frozen.files(kind)] if frozen is not None else []
    return list(dict.fromkeys(map(Path, [*weight_files(task), *around])))


def identity(path) -> str:
    """One line about a file of weights."""
    path = Path(path)
    with TensorFile(path) as file:
        kind = detect_network(file)
        version = version_of_shapes(file.shapes, kind, is_paddle_layout(file)) if kind in TELLING_KEYS else None
        count = sum(int(np.prod(shape)) for shape in file.shapes.values())
        dtypes, layout = (
            ", ".join(sorted(set(file.dtypes.values()))),
            "Paddle" if is_paddle_layout(file) else "official",
        )
    network_config(path, kind)  # can be built at all
    size = f"{kind} {version}" if version else kind
    whole = path.stat().st_size <= CHEAP
    digest = sha256_of(path) if whole else hashlib.sha256(_header(path)).hexdigest()
    return f"{path}: {size}, {count:,} numbers, {dtypes}, {layout} layout, sha256{'' if whole else ' of its header'} {digest[:16]}"


def _header(path) -> bytes:
    """The header of a safetensors file: names, shapes, precision and metadata."""
    with open(path, "rb") as file:
        length = file.read(8)
        return length + file.read(int.from_bytes(length, "little"))
