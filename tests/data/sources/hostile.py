"""What tests of datasets that somebody else wrote share: small ones to damage, and that they are refused in one line."""

import io
import json
import re
import tarfile

import pytest
from PIL import Image

from ldm.data.sources.opening import open_source
from ldm.data.transforms import open_rgb

VARIANTS = 150  # of every kind of damage; more by FUZZ=5000


def png(colour="red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(file, "PNG")
    return file.getvalue()


def member(name, **options):
    info = tarfile.TarInfo(name)
    for key, value in options.items():
        setattr(info, key, value)
    return info


def write(path, files, layout=tarfile.GNU_FORMAT):
    """files: (name or TarInfo, bytes)."""
    with tarfile.open(path, "w", format=layout) as tar:
        for name, data in files:
            info = name if isinstance(name, tarfile.TarInfo) else member(name)
            if info.isreg():
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def sample(key, caption=b"words"):
    return [(f"{key}.png", png()), (f"{key}.txt", caption), (f"{key}.json", b'{"width": 3}')]


def read_all(source, metadata: bool = True) -> list:
    read = []
    for index in range(len(source)):
        with source.open(index) as file:
            open_rgb(file, source.label(index))
        read.append((source.name(index), source.caption(index), source.stamp(index)))
        if metadata:
            read[-1] += (source.metadata(index),)
    return read


def refused(path, message, work=read_all, **options):
    """One line that matches `message`, of opening or of `work(source)`."""
    with pytest.raises((ValueError, OSError)) as error:
        work(open_source(path, **options))
    text = str(error.value)
    assert re.search(message, text) and text.isprintable() and len(text) < 3000, text[:3000]


ROW = {"file_name": "a.png", "text": "words"}


def jsonl(folder, *lines):
    """metadata.jsonl of rows, or of bytes as they are."""
    data = b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    (folder / "metadata.jsonl").write_bytes(data)
    return folder
