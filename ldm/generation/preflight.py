"""inference.py --preflight: whether a generation could be made, in a few lines, without reading a weight."""

import shutil
from pathlib import Path

from ldm.common.memory import available, gib
from ldm.common.preflight_report import Report
from ldm.generation.memory import NAMES, NotEnoughMemory, check_room
from ldm.generation.work import Sizes

PNG_BYTES = 3.01  # per pixel, at most: what does not compress
PER_FILE = 4096  # settings and the file system's own


def preflight(cascade_files, sizes: Sizes, images: int, folder, options: dict) -> Report:
    """Look at weights, disk and memory; the report has every problem. Raises only what reading a header does.

    cascade_files: `ldm.generation.memory.Networks`; images: PNG files of a run; options: those of its `forecast`.
    """
    report = Report("Before generating:")
    numbers = cascade_files.numbers
    report.say("weights", ", ".join(f"{NAMES[name]} {count / 1e6:,.1f}M" for name, count in numbers.items()))
    check_disk(report, folder, images, sizes)
    try:
        forecast = check_room(cascade_files, sizes, available(), **options)
        report.say("memory", f"{forecast.described()}\n{gib(available())} GiB free")
    except NotEnoughMemory as error:
        report.problem(str(error))
    return report


def check_disk(report: Report, folder, images: int, sizes: Sizes):
    """Free space against the most that the PNG files may take."""
    each = int(sizes.height * sizes.width * PNG_BYTES) + PER_FILE
    needed, free = (images + sizes.images) * each, shutil.disk_usage(Path(folder)).free
    files = f"{images} images of {sizes.height} x {sizes.width}{' and their contact sheet' if sizes.images else ''}"
    report.say("disk", f"{gib(free)} GiB free in {folder}; {files} take at most {gib(needed)}")
    if needed > free:
        report.problem(
            f"--output_dir {folder} has {gib(free)} GiB free, and {files} may take {gib(needed)}: make room, or choose "
            "another --output_dir, or fewer or smaller images."
        )
