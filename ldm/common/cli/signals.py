"""Ctrl-C, SIGTERM and the end of the terminal: an exception in the main thread, one line, an exit status of 128 + signal."""

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress

from ldm.common.child_processes import get_signal_at_parents_end, prctl

NAMES = {"SIGINT": "Ctrl-C", "SIGTERM": "SIGTERM", "SIGHUP": "the end of its terminal"}
HANDLED = {getattr(signal, name): what for name, what in NAMES.items() if hasattr(signal, name)}
GRACE = 5.0  # seconds in which the exception must have come through; Paddle may be in the middle of a long product
REPEATED = 1.0  # seconds within which the same signal again is still the first: Paddle's launcher sends three

_now = None  # the Signals of the running program


class Stopped(KeyboardInterrupt):
    """Somebody has asked the program to end. Libraries let KeyboardInterrupt through, so it is one."""

    def __init__(self, number: int, note: str = ""):
        super().__init__(number)
        self.number, self.note = number, note


class Signals:
    """What has come in, and what is done about it.

    The first signal raises Stopped in the main thread, wherever that is, so that files being written are cleaned up; with
    `patient` it is only noted. The same signal again, a second later, ends the process at once (one of another kind may be
    the launcher's, for the same Ctrl-C), and so does the first if the main thread has not seen it through within GRACE
    seconds, because it computes or a library has swallowed the exception. While a module is imported nothing is written,
    and libraries do swallow exceptions: there the process ends at once too.
    """

    def __init__(self, program: str, note: str):
        self.program, self.note = program, note
        self.number, self.patient = None, False
        self._again, self._over = set(), threading.Event()

    def handle(self, number: int, frame):
        """Python's handler, called in the main thread between two instructions."""
        if _importing(frame) or self._over.is_set():
            self.end(number)
        if self.number is not None:
            return
        self.number = number
        if self.patient:
            self.say("finishing this step, then saving a checkpoint; the same signal again ends the program at once.")
        else:
            raise Stopped(number)

    def watch(self, received: int):
        """A thread's work: see what the main thread is too busy to see. `received` gives a byte per signal."""
        if hasattr(
            signal, "pthread_sigmask"
        ):  # the system may give a signal to any thread: only the main one can hold it
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        seen = {}
        with open(received, "rb", buffering=0) as bytes_received:
            while number := bytes_received.read(1):
                number = number[0]
                if number in self._again:
                    self._again.discard(number)
                elif number in seen:
                    if time.monotonic() - seen[number] > REPEATED:
                        self.end(number)
                elif number in HANDLED:
                    seen[number] = time.monotonic()
                    threading.Thread(target=self._give_time, args=(number,), daemon=True).start()

    def _give_time(self, number: int):
        if not self._over.wait(GRACE) and not self.patient:
            self.end(number)

    def over(self):
        """The work has ended, or the exception has come through to here: nothing is left to clean up."""
        self._over.set()

    def swallowed(self, unraisable):
        """sys.unraisablehook: where Python could not raise Stopped (in a destructor), have it raised a little later."""
        if isinstance(unraisable.exc_value, Stopped):
            self.number = None
            self._again.add(unraisable.exc_value.number)
            threading.Timer(0.05, os.kill, [os.getpid(), unraisable.exc_value.number]).start()
        else:
            sys.__unraisablehook__(unraisable)

    def say(self, text: str):
        """One line to standard error, whatever redirects that, also from a thread."""
        with suppress(OSError):
            os.write(2, f"{self.program}: {text}\n".encode())

    def line(self, number: int, note: str = "") -> str:
        return f"stopped by {HANDLED[number]}{'; ' * bool(note or self.note)}{note or self.note}"

    def end(self, number: int):
        """End the process now: a line, the exit status, nothing else."""
        self.say(self.line(number))
        with suppress(Exception):
            sys.stdout.flush()
        os._exit(128 + number)


def _importing(frame) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def handled(program: str, note: str = "", final: bool = True):
    """The Signals of a program, in effect within the block; only in the main thread, as Python has it.

    final: the process ends after the block, where signals then have the system's meaning, which is silent. Signals that
    the process was told to ignore (by nohup, or by a shell in a script's background job) stay ignored.
    """
    global _now
    signals = Signals(program, note)
    if threading.current_thread() is not threading.main_thread() or _now is not None:
        yield signals
        return
    before = {number: signal.getsignal(number) for number in HANDLED}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    received, sent = os.pipe()
    os.set_blocking(sent, False)
    threading.Thread(target=signals.watch, args=(received,), daemon=True).start()
    wakeup, hook = signal.set_wakeup_fd(sent, warn_on_full_buffer=False), sys.unraisablehook
    _now, sys.unraisablehook = signals, signals.swallowed
    install()
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if final else handler)
        signal.set_wakeup_fd(wakeup)
        _now, sys.unraisablehook = None, hook
        os.close(sent)  # which ends the thread
        signals.over()


def install():
    """Set the handlers, again after a library has set its own, as Paddle does on import."""
    if _now is not None:
        for number in HANDLED:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, _now.handle)


@contextmanager
def held(number: int):
    """Have a signal wait until the end of the block, in which a library has a handler of its own for it."""
    if _now is None or not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
        install()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def current():
    """The Signals of the running program; None outside one."""
    return _now


# Children that are forked -------------------------------------------------------------------------------------------

_forking = (0, False)  # the process that forks, and whether its main thread does


def _before_fork():
    global _forking
    if _now is not None:
        prctl()
        _forking = os.getpid(), threading.current_thread() is threading.main_thread()


def _in_child():
    """A fork does not share its parent's handlers: signals end it without a word, and it ends with its parent."""
    global _now
    if _now is None:
        return
    signal.set_wakeup_fd(-1)  # else the parent would take our signals for its own
    for number in HANDLED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    _now = None
    parent, by_main_thread = _forking
    if by_main_thread:  # Linux takes the end of any other thread for the parent's
        get_signal_at_parents_end(signal.SIGKILL, parent)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_in_child)
