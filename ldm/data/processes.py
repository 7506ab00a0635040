"""One function over many things by as many processes as there are cores to use, the results in order."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait

from ldm.common.child_processes import get_signal_at_parents_end, prctl

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)
REMEDY = "Start again; `taskset -c 0 COMMAND` does without such processes."


def in_processes(function: Callable, things: Sequence) -> Iterator:
    """function(thing) of all things in their order. Close the generator if it is left early: that ends the processes.

    A ValueError or OSError of `function` is raised when its turn comes; ChildProcessError names the thing whose process
    died. The processes are forks, since fresh interpreters would import everything again, Paddle included, and run the
    user's script: `function` must leave threads and GPUs alone. A pipe for each, not concurrent.futures, whose executor
    waits for ever if a process is killed while it sends a result, and leaves them behind if their parent is killed: these
    end with it, whatever they are at. Ctrl-C is the parent's alone to tell of.
    """
    count = min(len(things), _cores())
    if count < 2:
        yield from map(function, things)
        return
    prctl()  # found before the fork
    waiting, workers, answers = deque(range(len(things))), {}, {}
    try:
        for _ in range(count):
            worker = _Worker(function, things)
            workers[worker.connection] = worker
            worker.start(waiting.popleft())
        for number in range(len(things)):
            while number not in answers:
                for connection in wait(workers):
                    worker = workers[connection]
                    answers[worker.number] = worker.answer()
                    if waiting:
                        worker.start(waiting.popleft())
                    else:
                        workers.pop(connection).end()
            result, error = answers.pop(number)
            if error is not None:
                raise error
            yield result
    finally:
        for worker in workers.values():
            worker.end()


def _cores() -> int:
    """Cores this process may use. 1 outside Linux, where forks are unsafe, and in daemons, which may have none."""
    if multiprocessing.current_process().daemon or not hasattr(os, "sched_getaffinity"):
        return 1
    return len(os.sched_getaffinity(0))


class _Worker:
    """A process that gets numbers of things and answers each with (result, None) or (None, error)."""

    def __init__(self, function: Callable, things: Sequence):
        context = multiprocessing.get_context("fork")
        self.connection, other = context.Pipe()
        self._things, self.number = things, None
        arguments = (function, things, self.connection, other, os.getpid())
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        try:
            with _signals_wait():
                self._process.start()
        except BaseException:  # a Ctrl-C that has waited comes at the block's end
            if self._process.pid:
                self.end()
            raise
        other.close()  # only the process has it now, so the pipe ends when the process dies

    def start(self, number: int):
        self.number = number
        with suppress(OSError):  # the process is dead: its answer will tell
            self.connection.send(number)

    def answer(self) -> tuple:
        """Waits for it; ChildProcessError if the process dies before its answer is complete."""
        try:
            return self.connection.recv()
        except (EOFError, OSError) as ended:
            self._process.join()
            code, thing = self._process.exitcode, self._things[self.number]
            why = f"exit status {code}, see above" if code >= 0 else f"signal {-code}, perhaps for lack of memory"
            raise ChildProcessError(f"{thing}: the process that was to read it died ({why}). {REMEDY}") from ended

    def end(self):
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()


@contextmanager
def _signals_wait():
    """Python would lose a Ctrl-C that comes while it forks; the child would tell of it, too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(function, things, parents_end, connection, parent):
    get_signal_at_parents_end(signal.SIGKILL, parent)
    parents_end.close()  # so that the pipe ends here, too, when the parent dies
    for name in SIGNALS:
        signal.signal(name, signal.SIG_DFL)  # to end without a word, whatever the parent does on them
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    while True:
        try:
            thing = things[connection.recv()]
        except (EOFError, OSError):  # the parent is gone
            return
        try:
            answer = function(thing), None
        except (ValueError, OSError) as error:
            answer = None, error
        connection.send(answer)
