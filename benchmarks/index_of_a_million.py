#!/usr/bin/env python
"""How long a dataset of a million captioned images takes to open, and how much memory: stand-in files without pixels."""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

KINDS = ("pairs", "jsonl", "csv", "tars")
PER_FOLDER = 10_000  # files side by side, samples per tar
CAPTION = "a photograph of something that takes some words to describe, number {}"


def write_folder(folder: Path, count: int):
    """`count` empty images with captions beside them, and the same as metadata.jsonl and metadata.csv."""
    for start in range(0, count, PER_FOLDER):
        (folder / name(start)).parent.mkdir()
        for index in range(start, min(count, start + PER_FOLDER)):
            path = os.path.join(folder, name(index))
            open(path, "w").close()
            with open(path.replace(".jpg", ".txt"), "w") as file:
                file.write(CAPTION.format(index))
    with open(folder / "metadata.jsonl", "w") as file:
        for index in range(count):
            row = {"file_name": name(index), "text": CAPTION.format(index), "width": 640, "aesthetic": index % 10}
            file.write(json.dumps(row) + "\n")
    with open(folder / "metadata.csv", "w") as file:
        file.write("file_name,text,width,aesthetic\n")
        file.writelines(f'{name(index)},"{CAPTION.format(index)}",640,{index % 10}\n' for index in range(count))


def write_tars(folder: Path, count: int):
    """`count` samples of an empty image, a caption and a small .json in tars."""
    for shard, start in enumerate(range(0, count, PER_FOLDER)):
        _write_tar(folder / f"shard_{shard:05d}.tar", range(start, min(count, start + PER_FOLDER)))


def name(index: int) -> str:
    """The image's path in the dataset."""
    return f"part_{index // PER_FOLDER:05d}/image_{index:09d}.jpg"


def _write_tar(path: Path, indices):
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in indices:
            metadata = json.dumps({"width": 640, "aesthetic": index % 10}).encode()
            for suffix, data in (("jpg", b""), ("json", metadata), ("txt", CAPTION.format(index).encode())):
                member = tarfile.TarInfo(f"{index:09d}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def measure(path: str, data_filter: str):
    """Open the dataset in this process; print seconds and the growth of the resident memory, highest and lasting, in MB."""
    from ldm.data.sources.opening import open_source

    Path("/proc/self/clear_refs").write_text("5")  # forget the highest memory so far
    before, start, processor = memory("VmRSS"), time.perf_counter(), processor_seconds()
    source = open_source(path, data_filter=data_filter)
    seconds, processor = time.perf_counter() - start, processor_seconds() - processor
    after, highest = memory("VmRSS"), memory("VmHWM")
    reads = time.perf_counter()
    for index in range(0, len(source), max(1, len(source) // 1000)):
        source.name(index), source.caption(index)
    reads = time.perf_counter() - reads
    print(
        f"{len(source)} samples: opened in {seconds:.1f} s ({processor:.1f} s of processor), memory {highest - before:+.0f} MB at most, "
        f"{after - before:+.0f} MB lasting; then {reads * 1000:.0f} us per caption"
    )


def processor_seconds() -> float:
    """What this process and the ended ones that it started have taken."""
    return sum(os.times()[:4])


def memory(field: str) -> float:
    """A line of /proc/self/status in MB."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field)]
    return int(line.split()[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--kind", choices=KINDS, action="append", help="kinds of datasets, may be repeated (default: all)")
    add("--count", type=int, default=1_000_000, help="samples (default: %(default)s)")
    add(
        "--folder", help="where to write the stand-ins, some gigabytes and two million files (default: a temporary one)"
    )
    add("--open", help=argparse.SUPPRESS)  # the measuring process
    add("--filter", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open:
        measure(args.open, args.filter)
        return
    kinds = args.kind or KINDS
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        if set(kinds) - {"tars"}:
            write_folder(Path(folder), args.count)
        if "tars" in kinds:
            write_tars(Path(folder), args.count)
        for kind in kinds:
            compare(kind, folder)


def compare(kind: str, folder: str):
    """Open one kind of dataset in processes of their own: twice, and with a filter."""
    tables = {table: Path(folder, f"metadata.{table}") for table in ("jsonl", "csv")}
    path = f"{folder}/*.tar" if kind == "tars" else str(tables.get(kind, folder))
    if kind == "pairs":  # a table in the folder would be taken instead
        for table in tables.values():
            table.rename(table.with_name(f"{table.name}.away"))
    filters = [] if kind == "pairs" else [("with a filter", "width >= 512 and aesthetic > 4.5")]
    for what, data_filter in [("first opening", ""), ("second opening", ""), *filters]:
        print(f"{kind}, {what}: ", end="", flush=True)
        subprocess.run([sys.executable, __file__, "--open", path, "--filter", data_filter], check=True)
    if kind == "pairs":
        for table in tables.values():
            table.with_name(f"{table.name}.away").rename(table)


if __name__ == "__main__":
    main()
