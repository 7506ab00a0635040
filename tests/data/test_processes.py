"""Several processes at once: the order, errors in their turn, processes that die, Ctrl-C, and when none is started."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest

from ldm.data.processes import in_processes


@pytest.fixture(autouse=True)
def three_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    others = multiprocessing.active_children()  # a data loader's of earlier tests
    monkeypatch.setattr(
        sys.modules[__name__], "our_children", lambda: set(multiprocessing.active_children()) - {*others}
    )
    yield
    assert not our_children()


def our_children() -> set:
    """Processes that a test has started; the fixture fills it in."""


def square(number):
    time.sleep(0.2 if number == 0 else 0)  # the others overtake it
    return number * number, os.getpid()


def test_results_come_in_order_from_a_process_per_core():
    results = list(in_processes(square, range(10)))
    assert [result for result, _ in results] == [number * number for number in range(10)]
    processes = {process for _, process in results}
    assert len(processes) == 3 and os.getpid() not in processes
    assert len({process for _, process in in_processes(square, range(2))}) == 2


def test_one_thing_or_one_core_or_another_system_starts_none(monkeypatch):
    here = os.getpid()
    assert list(in_processes(square, [3])) == [(9, here)]
    assert list(in_processes(square, [])) == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {5})
    assert list(in_processes(square, [3, 4])) == [(9, here), (16, here)]
    monkeypatch.delattr(os, "sched_getaffinity")
    assert list(in_processes(square, [3, 4])) == [(9, here), (16, here)]


def test_a_daemon_does_it_alone():
    """Python lets no daemon have children; DataLoader workers are daemons."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    daemon = context.Process(target=lambda: writer.send([*in_processes(square, range(3))]), daemon=True)
    daemon.start()
    daemon.join(60)
    assert reader.poll() and reader.recv() == [(number * number, daemon.pid) for number in range(3)]


def test_the_first_error_in_order_is_raised_in_its_turn():
    def fails(number):
        if number == 3:
            time.sleep(0.2)  # the later one is there before it
        if number in (3, 4):
            raise FileNotFoundError(2, "nothing there", f"file {number}")
        return number

    seen = []
    with pytest.raises(FileNotFoundError, match="nothing there: 'file 3'"):
        for number in in_processes(fails, range(9)):
            seen.append(number)
    assert seen == [0, 1, 2]


def test_a_killed_process_is_named():
    def dies(name):
        if name == "third":
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    with pytest.raises(ChildProcessError, match="third: the process .* died .signal 9, perhaps.*taskset -c 0"):
        list(in_processes(dies, ["first", "second", "third", "fourth"]))


def test_a_process_killed_in_the_middle_of_its_result_is_named():
    def dies_sending(name):
        def send_part(connection, data):
            os.write(connection.fileno(), bytes(data[:1000]))
            os.kill(os.getpid(), signal.SIGKILL)

        Connection._send = send_part  # in this process alone
        return b"x" * 10_000_000

    with pytest.raises(ChildProcessError, match="first: the process .* died .signal 9"):
        list(in_processes(dies_sending, ["first", "first"]))


def test_an_unexpected_error_shows_where_it_was(capfd):
    def mistaken(name):
        return {}["no such key"]

    with pytest.raises(ChildProcessError, match="a: the process .* died .exit status 1, see above"):
        list(in_processes(mistaken, ["a", "a"]))
    assert "in mistaken" in capfd.readouterr().err


@pytest.fixture
def ctrl_c_raises():
    """As in a terminal: a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_everything_at_once(ctrl_c_raises):
    parent = os.getpid()

    def hangs(number):
        if number == 1:
            time.sleep(1)  # Python loses a KeyboardInterrupt that comes while it forks the next process
            os.kill(parent, signal.SIGINT)
        time.sleep(60)

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(hangs, range(3)))
    assert time.monotonic() - start < 50


def test_leaving_early_ends_the_processes():
    results = in_processes(lambda number: time.sleep(60 if number else 0), range(9))
    assert next(results) is None and len(our_children()) == 3
    results.close()
    assert not our_children()


@pytest.fixture
def others_at_work():
    """An interpreter whose three processes are at work on a minute's thing each; they hold its standard output.

    `python -c` has no file to import, as notebooks have none.
    """
    program = (
        "import os, signal, time; from ldm.data.processes import in_processes\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background jobs ignore it
        "os.sched_getaffinity = lambda process: {0, 1, 2}\n"
        "def work(number): os.write(1, b'at work\\n'); time.sleep(60)\n"
        "list(in_processes(work, range(10**6)))"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes, start_new_session=True) as process:
        for _ in range(3):
            assert process.stdout.readline() == "at work\n"
        time.sleep(0.5)  # the parent waits now
        yield process
        with suppress(ProcessLookupError):  # a failed test leaves nothing at work
            os.killpg(process.pid, signal.SIGKILL)


def test_processes_end_with_their_parent_in_the_middle_of_their_work(others_at_work):
    start = time.monotonic()
    others_at_work.kill()
    output, errors = others_at_work.communicate(timeout=60)  # until the last of them has ended
    assert not output and not errors and time.monotonic() - start < 20


def test_a_ctrl_c_while_it_forks_is_not_lost(ctrl_c_raises, monkeypatch):
    start = multiprocessing.context.ForkProcess.start

    def interrupted(process):
        os.kill(os.getpid(), signal.SIGINT)
        start(process)

    monkeypatch.setattr(multiprocessing.context.ForkProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(in_processes(square, range(3)))


def test_ctrl_c_in_a_terminal_shows_one_traceback(others_at_work):
    """It reaches all processes at once."""
    os.killpg(others_at_work.pid, signal.SIGINT)
    _, errors = others_at_work.communicate(timeout=60)
    assert others_at_work.returncode == -signal.SIGINT
    assert "in in_processes" in errors and "in _work" not in errors and "Process-" not in errors
