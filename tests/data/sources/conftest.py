"""Datasets to read, and a limit on time."""

import signal

import pytest
from PIL import Image
from webdataset_tars import write_tar


@pytest.fixture
def at_once():
    """What takes 60 seconds hangs."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def tar_folder(tmp_path):
    """Two tars of three and four samples."""
    write_tar(tmp_path / "s-000.tar", 3)
    write_tar(tmp_path / "s-001.tar", 4, 3)
    return tmp_path


@pytest.fixture
def two_images(tmp_path):
    """A folder of a.png and b.png."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6), "red").save(tmp_path / name)
    return tmp_path
