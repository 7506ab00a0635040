"""Work in forked processes with bounds on memory and time, so that whatever dies is attributed to its input."""

import os
import pickle
import resource
import select
import signal
import struct
import sys
import time
import traceback
from dataclasses import dataclass

MEMORY = 3 << 30  # bytes of address space beyond those of the parent
SECONDS = 90  # for one piece of work


@dataclass(frozen=True)
class Died:
    """A process that ended without a word: by a signal, or stopped because it took too long."""

    why: str


def prepare_forks():
    """Progress bars of this process and its forks share no lock: a fork that is killed would keep it for ever."""
    import threading

    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0  # a thread that might hold it at the moment of a fork


def in_fork(work, seconds: float = SECONDS):
    """What `work()` returns, called in a forked process, or Died."""
    [(_, _, value)] = each_in_forks(lambda *_: work(), [(None, [None])], 1, seconds)
    return value


def each_in_forks(work, batches, jobs: int = 1, seconds: float = SECONDS):
    """Yield (key, item, work(key, item)) of batches (key, items), one process for each batch, `jobs` at a time.

    seconds: for one item; a key may have another number as its attribute of that name.
    When a process dies, its current item comes as Died, and a new process goes on with the rest. Only the thread that
    imported Paddle may call this: in others its forks would compute in Paddle's static mode.
    """
    waiting, children = iter([(key, list(items)) for key, items in batches]), []
    try:
        while True:
            while len(children) < jobs and (batch := next(waiting, None)) is not None:
                children.append(Child(work, *batch, getattr(batch[0], "seconds", seconds)))
            if not children:
                return
            first = min(child.deadline for child in children)
            readable = select.select(children, [], [], max(0.0, first - time.monotonic()))[0]
            for child in [child for child in children if child in readable or child.deadline <= time.monotonic()]:
                for value in child.results(child in readable):
                    yield child.key, child.left.pop(0), value
                    if isinstance(value, Died) or not child.left:
                        children.remove(child)
                        child.end()
                        if child.left:
                            children.append(Child(work, child.key, child.left, child.seconds))
                        break
    finally:
        for child in children:
            child.end()


class Child:
    """A forked process that works through the items `left` and sends each result through a pipe."""

    def __init__(self, work, key, left, seconds: float):
        self.key, self.left, self.seconds, self.data = key, left, seconds, b""
        self.deadline = time.monotonic() + seconds
        read_end, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read_end)
            os.setsid()
            status = 1
            try:
                limit_memory(MEMORY)
                for item in left:
                    send(write_end, work(key, item))
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        os.close(write_end)
        self.pipe = read_end

    def fileno(self) -> int:
        return self.pipe

    def results(self, readable: bool):
        """The results that have come, Died if the process has ended or its time is up."""
        if not readable:
            yield Died(f"no end after {self.seconds:g} seconds")
            return
        part = os.read(self.pipe, 1 << 20)
        self.data += part
        while len(self.data) >= 8 and len(self.data) >= 8 + (length := struct.unpack("<Q", self.data[:8])[0]):
            value, self.data = pickle.loads(self.data[8 : 8 + length]), self.data[8 + length :]
            self.deadline = time.monotonic() + self.seconds
            yield value
        if not part:
            yield Died(ending(os.waitpid(self.pid, 0)[1]))

    def end(self):
        """Stop the process, and what it has started in its session."""
        os.close(self.pipe)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has been waited for


def send(pipe: int, value):
    data = pickle.dumps(value)
    data = memoryview(struct.pack("<Q", len(data)) + data)
    while data:
        data = data[os.write(pipe, data) :]


def ending(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended by itself with status {code}"


def limit_memory(more: int):
    """Bound this process's address space to what it has now and `more` bytes."""
    pages = int(open("/proc/self/statm").read().split()[0])
    limit = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
