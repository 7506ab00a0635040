"""ldm.common.cli: what ends a program early is one line and an exit status."""

import errno
import os
import subprocess
import sys

import numpy as np
import paddle
import pytest
from helpers import ROOT

from ldm.common.cli import failures, run, run_command
from ldm.common.cli.failures import line_of
from ldm.common.cli.flags import Parser


def raising(error):
    def work():
        raise error

    return work


def ended_by(capsys, work, argv=()):
    """Exit status and what was said on standard error."""
    return run("program.py", work, list(argv)), capsys.readouterr().err


def caught(work) -> Exception:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "error, text",
    [
        (ValueError("--cfg nan is no number."), "--cfg nan is no number."),
        (FloatingPointError("The latent is not finite."), "The latent is not finite."),
        (ValueError("two\nlines"), "two lines"),
        (FileNotFoundError("The folder x does not exist."), "The folder x does not exist."),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b.png"),
            "a/b.png: No space left on device: free some space",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "b.png"), "b.png: Disk quota exceeded: free some space"),
        (OSError(errno.EROFS, "Read-only file system", "b.png"), "b.png: Read-only file system: choose another folder"),
        (PermissionError(errno.EACCES, "Permission denied", "b"), "b: Permission denied: change its permissions"),
        (
            OSError(errno.EMFILE, "Too many open files", "b"),
            "b: Too many open files: allow more open files (ulimit -n)",
        ),
        (OSError(errno.ENOSPC, "No space", "d/.b.png.12.abcd_123.part"), "d/b.png: No space"),
        (MemoryError(), "Not enough memory: ask for less at once"),
        (RuntimeError("can't start new thread"), "Not enough memory: ask for less at once"),
        (
            RuntimeError("(PreconditionNotMet) libmklml_intel.so: failed to map segment"),
            "Not enough memory: ask for less",
        ),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "Not enough memory: ask for less"),
        (OverflowError("int too large to convert to float"), "A number is too large (int too large"),
        (RecursionError("maximum recursion depth exceeded"), "nested too deeply"),
        (ModuleNotFoundError("No module named 'visualdl'", name="visualdl"), "install requirements.txt"),
        # As Paddle says it where a GPU is full, recorded
        (
            RuntimeError(
                "\n\n--------------------------------------\nC++ Traceback (most recent call last):\nError Message Summary:\n"
                "ResourceExhaustedError: \n\nOut of memory error on GPU 0. Cannot allocate 2.000000GB memory on GPU 0, 79GB "
                "memory has been allocated.\n (at /paddle/paddle/fluid/memory/allocation/cuda_allocator.cc:86)"
            ),
            "Not enough memory (2.000000GB at once)",
        ),
    ],
)
def test_what_users_can_cause_or_meet_is_one_line(capsys, error, text):
    status, said = ended_by(capsys, raising(error))
    assert status == 2 and said.startswith("program.py: ") and text in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "work, text",
    [
        (lambda: paddle.empty([10**13]), "Not enough memory (37252.9 GiB at once)"),
        (lambda: np.empty(10**15), "Not enough memory (7.11 PiB at once)"),
        (lambda: [0] * 10**16, "Not enough memory"),
        (lambda: float(10**400), "A number is too large"),
        (lambda: int(float("inf")), "A number is too large"),
    ],
)
def test_what_the_libraries_really_raise(capsys, work, text):
    status, said = ended_by(capsys, work)
    assert status == 2 and text in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "work",
    [
        lambda: {}["no such key"],
        lambda: int("seven"),
        lambda: np.zeros(6).reshape(4),
        lambda: paddle.ones([2, 3]) @ paddle.ones([2, 3]),
        lambda: paddle.reshape(paddle.ones([6]), [4]),
        raising(ModuleNotFoundError("No module named 'ldm.gone'", name="ldm.gone")),
        raising(AssertionError()),
    ],
)
def test_a_bug_is_one_line_and_a_report(capsys, monkeypatch, tmp_path, work):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    status, said = ended_by(capsys, work, ["--flag", "value"])
    (report,) = tmp_path.iterdir()
    assert status == 1 and said.count("\n") == 1 and "Traceback" not in said
    assert "this is a bug" in said and str(report) in said and type(caught(work)).__name__ in said
    text = report.read_text()
    assert "command: program.py '--flag' 'value'" in text and "Traceback" in text and "numpy 1." in text


def test_a_bug_where_no_report_can_be_written(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    status, said = ended_by(capsys, raising(KeyError("x")))
    assert status == 1 and said.count("\n") == 1 and "--debug shows the traceback" in said


@pytest.mark.parametrize("error, status", [(ValueError("wrong"), 2), (KeyError("x"), 1)])
def test_debug_shows_the_traceback(capsys, error, status):
    assert ended_by(capsys, raising(error), ["--debug"])[0] == status
    status_without, said = ended_by(capsys, raising(error), ["--debug", "False"])
    assert status_without == status and "Traceback" not in said


def test_the_traceback_of_debug(capsys):
    assert "Traceback" in ended_by(capsys, raising(ValueError("wrong")), ["--debug"])[1]


@pytest.mark.parametrize("limited", [True, False])
def test_a_library_that_does_not_say_what_it_lacks_lacks_memory_where_that_is_limited(monkeypatch, limited):
    monkeypatch.setattr(failures, "_memory_is_limited", lambda: limited)
    line = failures.line_of(SystemError("error return without exception set"))
    assert line.startswith("Not enough memory") if limited else line is None


def test_a_subclass_of_value_error_is_about_an_input():
    assert "can't decode" in line_of(caught(lambda: b"\xff".decode()))


def test_the_status_is_what_the_work_returns(capsys):
    assert run("program.py", lambda: 1, []) == 1
    assert run("program.py", lambda: ["a", "list"], []) == 0


def test_parsing_and_preparing_are_within_the_boundary(capsys):
    def prepare():
        raise ModuleNotFoundError("No module named 'paddle'", name="paddle")

    assert run_command("program.py", Parser, print, ["--no_such_flag"]) == 2
    assert "program.py: Unknown flag --no_such_flag" in capsys.readouterr().err
    assert run_command("program.py", Parser, print, [], prepare) == 2
    assert "No module named 'paddle': install requirements.txt" in capsys.readouterr().err


PROGRAM = """
import sys
from ldm.common.cli import run
def work():
    for number in range(100_000):
        print("line", number)
sys.exit(run("program.py", work))
"""


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -c '{PROGRAM}' | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("line 0\n", "", 141)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux' file that is always full")
def test_an_output_without_room():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "standard output, or a file being written: No space left on device: free some space" in done.stderr
