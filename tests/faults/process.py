"""A program in a process of its own that can be killed: forked from one that has imported Paddle, or a plain command line.

The process that calls this adopts whatever the program leaves behind, and sees it.
"""

import atexit
import contextlib
import ctypes
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


def adopt_orphans():
    """Processes whose parent dies become children of this one."""
    if ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Program:
    """A running program. command: script and arguments; log: where all that it says goes; memory: bytes more than now."""

    def __init__(self, command, log: Path, plain: bool = False, memory=None, env=None):
        self.log, self.status = log, None
        self.command = list(map(str, command))
        start = self._start_plain if plain else self._fork
        this_clone = {"PYTHONPATH": str(ROOT)}  # whichever is installed
        self.pid = start(memory, {**os.environ, **this_clone, **(env or {})})

    def _start_plain(self, memory, env):
        def unlimited():
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))  # that of the forks is not for it

        with open(self.log, "ab") as log:
            command = [sys.executable, *self.command]
            return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env,
                                    start_new_session=True, preexec_fn=unlimited).pid  # fmt: skip

    def _fork(self, memory, env):
        pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            os.chdir(ROOT)
            os.environ.update(env)
            with open(self.log, "ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            if memory is not None:
                limit_memory(memory)
            status = call_script(self.command)
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def ended(self) -> bool:
        """Whether it has ended; `status` says how: negative by a signal."""
        if self.status is None:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self, seconds: float = 300.0) -> int:
        """Its exit status; SIGKILL after so many seconds."""
        end = time.monotonic() + seconds
        while not self.ended():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.002)
        return self.status

    def kill(self, number: int = signal.SIGKILL):
        if not self.ended():
            os.kill(self.pid, number)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def call_script(command) -> int:
    """Run a script as the interpreter does; its exit status."""
    sys.argv = list(command)
    sys.path.insert(0, os.path.dirname(os.path.abspath(command[0])))
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def limit_memory(more: int):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def descendants() -> list[int]:
    """The processes below this one that have not ended."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                state, parent = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry)] = int(parent)
    found, waiting = [], [os.getpid()]
    while waiting:
        children = [pid for pid, parent in parents.items() if parent == waiting[-1]]
        waiting.pop()
        found += children
        waiting += children
    return found


def left_behind(grace: float = 5.0) -> list[str]:
    """Processes that are still there after `grace` seconds, by their command lines; they are killed then."""
    end = time.monotonic() + grace
    while (pids := descendants()) and time.monotonic() < end:
        reap()
        time.sleep(0.02)
    names = []
    for pid in pids:
        with contextlib.suppress(OSError):
            names.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200])
            os.kill(pid, signal.SIGKILL)
    while pids and descendants():
        reap()
        time.sleep(0.01)
    reap()
    return names


def reap():
    """Collect the children that have ended and that nobody waits for."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
