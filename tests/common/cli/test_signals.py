"""ldm.common.cli.signals in real processes: one line and the exit status, wherever the signal comes, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, in_session, session_ends
from signalled import END, START, STOPPED, WAIT, ended, heed_all_signals, signal_name

from ldm.common.cli import run


@pytest.fixture
def start(tmp_path):
    """start(body of a program): a process of its own session that has said that it is ready."""
    begun = []

    def started(body):
        process = subprocess.Popen(
            [sys.executable, "-c", START + body + END, str(tmp_path)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=heed_all_signals,
        )  # fmt: skip
        begun.append(process)
        assert process.stdout.readline() == "ready\n", process.communicate()[1]
        return process

    yield started
    for process in begun:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "number, name", [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM"), (signal.SIGHUP, "the end of its terminal")]
)
def test_a_signal_is_one_line(start, number, name):
    assert ended(start(WAIT), number) == (128 + number, STOPPED.format(name))


def test_a_file_being_written_is_removed(start, tmp_path):
    body = """
def work():
    with atomic_path(folder / "file") as temporary:
        temporary.write_text("half")
        ready()
        time.sleep(60)
"""
    process = start(body)
    assert len(list(tmp_path.iterdir())) == 1
    assert ended(process, signal.SIGTERM)[0] == 143
    assert not list(tmp_path.iterdir())


def test_while_a_module_is_imported(start, tmp_path):
    """Libraries try to import what may be missing and take whatever is raised for that."""
    (tmp_path / "slow_module.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(60)\n")
    body = """
def work():
    sys.path.insert(0, str(folder))
    try:
        import slow_module
    except:
        time.sleep(60)
"""
    assert ended(start(body), signal.SIGINT) == (130, STOPPED.format("Ctrl-C"))


@pytest.mark.parametrize(
    "hidden",
    [
        "try:\n            time.sleep(60)\n        except BaseException:\n            time.sleep(60)",
        "hash_of = __import__('hashlib').pbkdf2_hmac('sha256', b'', b'', 60_000_000)",  # seconds in C, like a product
    ],
    ids=["swallowed", "busy"],
)
def test_the_exception_does_not_come_through(start, hidden):
    body = f"""
signals.GRACE = 1.0
def work():
    ready()
    while True:
        {hidden}
"""
    begun = time.monotonic()
    assert ended(start(body), signal.SIGTERM) == (143, STOPPED.format("SIGTERM"))
    assert time.monotonic() - begun < 50  # and not the 60 s, nor the product's many


def test_in_a_destructor(start):
    """Python cannot raise there, and would print what it has ignored."""
    body = """
class Slow:
    def __del__(self):
        ready()
        for _ in range(1000):
            time.sleep(0.001)
def work():
    Slow()
    time.sleep(0.5)
    time.sleep(60)
"""
    assert ended(start(body), signal.SIGINT) == (130, STOPPED.format("Ctrl-C"))


def test_another_exception_made_of_it(start):
    """As Paddle does where its C++ code calls Python."""
    body = """
def work():
    try:
        ready()
        time.sleep(60)
    except BaseException:
        raise OSError("(External) KeyboardInterrupt [Hint: at (/paddle/pylayer.cc:10)]")
"""
    assert ended(start(body), signal.SIGINT) == (130, STOPPED.format("Ctrl-C"))


CLEANING = """
signals.GRACE = 60
def work():
    try:
        ready()
        time.sleep(60)
    finally:
        time.sleep(seconds)
"""


def test_the_same_signal_a_second_later_ends_it_at_once(start):
    process, begun = start("seconds, signals.REPEATED = 50, 0.3\n" + CLEANING), time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(2)
    assert ended(process, signal.SIGINT) == (130, STOPPED.format("Ctrl-C"))
    assert time.monotonic() - begun < 40


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM,) * 3])
def test_what_a_launcher_sends_besides_changes_nothing(start, numbers):
    """The signal of the terminal's Ctrl-C, and another that the launcher passes on, or the same three times."""
    process, begun = start("seconds, signals.REPEATED = 2, 30\n" + CLEANING), time.monotonic()
    assert ended(process, *numbers) == (128 + numbers[0], STOPPED.format(signal_name(numbers[0])))
    assert time.monotonic() - begun > 1.9


def test_a_signal_that_is_to_be_ignored_is(start):
    """Of nohup, and of a script's background jobs."""
    body = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + WAIT.replace("60", "1")
    assert ended(start(body), signal.SIGHUP) == (0, "")


def test_after_the_program_it_is_silent(start):
    body = """
import atexit
atexit.register(lambda: (ready(), time.sleep(60)))
def work():
    pass
"""
    assert ended(start(body), signal.SIGINT) == (-signal.SIGINT, "")


FORKS = """
import multiprocessing
def sleep(*_):
    time.sleep(60)
def work():
    children = [multiprocessing.get_context("fork").Process(target=sleep, daemon=False) for _ in range(2)]
    for child in children:
        child.start()
    time.sleep(0.2)
    ready()
    time.sleep(60)
"""


@pytest.mark.parametrize("number, status", [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_forked_children_end_with_it_and_say_nothing(start, number, status):
    process = start(FORKS)
    assert len(in_session(process.pid)) == 3
    os.kill(process.pid, number) if number == signal.SIGKILL else os.killpg(process.pid, number)
    # As long as a child lives it holds the pipe
    assert process.communicate(timeout=60)[1] == ("" if status == -9 else STOPPED.format(signal_name(number)))
    assert process.returncode == status and session_ends(process.pid)


def test_ours_hold_after_the_imports(start):
    """Paddle's handler for SIGTERM prints ten lines. While it is imported, the signal waits."""
    body = """
import threading
from ldm.common.runtime import prepare
def work():
    ready()
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM]).start()
    prepare()
    time.sleep(60)
"""
    assert ended(start(body)) == (143, STOPPED.format("SIGTERM"))
    body = """
from ldm.common.runtime import prepare
def work():
    prepare()
    import paddlenlp  # which resets Paddle's handlers, and ours with them
    ready()
    time.sleep(60)
"""
    assert ended(start(body), signal.SIGTERM) == (143, STOPPED.format("SIGTERM"))


def test_a_call_of_a_program_leaves_the_callers_handlers():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], sys.unraisablehook
    inside = []
    assert run("program.py", lambda: inside.append(signal.getsignal(signal.SIGTERM)), []) == 0
    assert inside != [before[0][1]]
    assert ([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)], sys.unraisablehook) == before
