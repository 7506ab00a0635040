"""ldm.common.atomic: what killed writers leave is removed, errors of writing name the file."""

import errno
import os
import subprocess
import sys
import time

import pytest
from helpers import run_python

from ldm.common import atomic
from ldm.common.atomic import atomic_path
from ldm.common.child_processes import DAY

DEAD = subprocess.Popen([sys.executable, "-c", ""])
DEAD.wait()


@pytest.fixture(autouse=True)
def fresh():
    atomic.remove_unfinished.cache_clear()


def leave(folder, name, days: float):
    path = folder / name
    path.write_bytes(b"half")
    os.utime(path, (time.time() - days * DAY,) * 2)
    return name


def test_what_is_a_day_old_and_nobodys_is_removed(tmp_path):
    for name in (f".weights.{DEAD.pid}.ab_123xy.part", ".weights.ab_123xy.part", f".a b\n.{DEAD.pid}.ab_123xy.part"):
        leave(tmp_path, name, 1.1)
    kept = {
        leave(tmp_path, f".weights.{DEAD.pid}.cd_123xy.part", 0.9),
        leave(tmp_path, f".weights.{os.getpid()}.ab_123xy.part", 30),
        leave(tmp_path, "film.part", 30),
        leave(tmp_path, ".film.part", 30),
        leave(tmp_path, ".film.mkv.part", 30),
        leave(tmp_path, "weights", 30),
    }
    with atomic_path(tmp_path / "new") as temporary:
        temporary.write_text("new")
    assert {path.name for path in tmp_path.iterdir()} == kept | {"new"}


def test_a_folder_is_looked_through_once(tmp_path):
    with atomic_path(tmp_path / "first"):
        pass
    left = leave(tmp_path, f".weights.{DEAD.pid}.ab_123xy.part", 2)
    with atomic_path(tmp_path / "second"):
        pass
    assert (tmp_path / left).exists()


def test_the_temporary_name_says_whose_it_is(tmp_path):
    with atomic_path(tmp_path / "name.txt") as temporary:
        match = atomic.UNFINISHED.fullmatch(temporary.name)
        assert match and int(match["process"]) == os.getpid()


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127])
def test_the_longest_names(tmp_path, name):
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux' file that is always full")
def test_no_room_names_the_file(tmp_path):
    with pytest.raises(OSError) as failed:
        with atomic_path(tmp_path / "picture.png"), open("/dev/full", "w") as out:
            out.write("x")
            out.flush()
    assert failed.value.errno == errno.ENOSPC and failed.value.filename == str(tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_no_room_for_safetensors_names_the_file(tmp_path):
    """It has a kind of exception of its own. Not tried with /dev/full: safetensors renames another file to what it writes,
    which puts an ordinary file in the device's place if root runs the tests."""
    code = (
        "import resource, sys, numpy as np; from safetensors.numpy import save_file; from ldm.common.atomic import atomic_path\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000,) * 2)\n"
        "try:\n"
        "    with atomic_path(sys.argv[1]) as path: save_file({'x': np.zeros(10**5, 'float32')}, path)\n"
        "except OSError as error: print(error.errno, error.filename)"
    )
    assert run_python(code, tmp_path / "cache.safetensors") == f"{errno.EFBIG} {tmp_path / 'cache.safetensors'}\n"
    assert not list(tmp_path.iterdir())


def test_errors_of_reading_keep_their_name(tmp_path):
    with pytest.raises(FileNotFoundError) as failed:
        with atomic_path(tmp_path / "target"):
            open(tmp_path / "source")
    assert failed.value.filename == str(tmp_path / "source")


def test_a_device_or_folder_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, what in (("pipe", "no regular file"), ("folder", "a folder")):
        with (
            pytest.raises(ValueError, match=f"{name} is {what}: give the name of a file"),
            atomic_path(tmp_path / name),
        ):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]
