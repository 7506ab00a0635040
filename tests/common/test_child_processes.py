"""ldm.common.child_processes: the race at the beginning, whose shared memory is removed. Whole runs: training/test_ended_runs.py."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT

from ldm.common import child_processes
from ldm.common.child_processes import DAY, EndWithParent, is_alive, remove_forgotten_shared_memory


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_who_is_alive():
    assert is_alive(os.getpid()) and is_alive(1)
    assert not is_alive(ended_process())


@pytest.mark.parametrize("system", ["linux", "others"])
def test_a_parent_that_is_gone_already(system):
    """The worker is started, its parent ends, and only then does it ask to be told."""
    code = (
        f"from ldm.common import child_processes, child_processes as c; import os, time\n"
        f"c.prctl = c.prctl if {system == 'linux'} else lambda: None\n"
        f"child_processes.get_signal_at_parents_end(15, {ended_process()}); time.sleep(200)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == -signal.SIGTERM


def test_where_the_system_does_not_tell(tmp_path):
    """A thread asks for the parent."""
    code = (
        "import os, time; from ldm.common import child_processes as c; c.prctl = lambda: None; parent = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    c.get_signal_at_parents_end(9, parent); print('ready', flush=True); time.sleep(200)\n"
        "else: time.sleep(200)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.kill()
        begun = time.monotonic()
        process.stdout.read()  # until the child has ended
        assert time.monotonic() - begun < 100


def test_only_what_is_old_and_nobodys_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(child_processes, "SHARED_MEMORY", tmp_path)
    dead, alive = ended_process(), os.getpid()
    names = {f"paddle_{dead}_0_17": False, f"paddle_{alive}_0_17": True, f"psm_{dead}": True, f"paddle_{dead}_1": True}
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - DAY - 60,) * 2)
    (tmp_path / f"paddle_{dead}_1_17").touch()
    remove_forgotten_shared_memory()
    kept = {name for name, stays in names.items() if stays} | {f"paddle_{dead}_1_17"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_system_without_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(child_processes, "SHARED_MEMORY", tmp_path / "missing")
    remove_forgotten_shared_memory()


def test_a_workers_own_files_go_with_it(tmp_path):
    code = (
        "import os, pathlib; from ldm.common import child_processes as c; c.SHARED_MEMORY = pathlib.Path('"
        + str(tmp_path)
        + "')\n"
        "(pathlib.Path(c.SHARED_MEMORY) / f'paddle_{os.getpid()}_3_99').touch(); (pathlib.Path(c.SHARED_MEMORY) / 'paddle_1_3_99').touch()\n"
        "init = c.EndWithParent(); init.parent = 2**30; init(0)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=120).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["paddle_1_3_99"]
    assert EndWithParent().parent == os.getpid()
