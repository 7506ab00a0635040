"""The one boundary of all programs: whatever ends one early is one line and an exit status. Standard library only.

| ended by | exit status |
|---|---|
| an error that a user can cause or meet, from parsing on | 2 |
| a bug of ours; a file has the report, --debug prints the traceback instead | 1 |
| Ctrl-C, SIGTERM, the end of the terminal | 130, 143, 129 |
| nobody reads the output any more (`... | head`) | 141, without a word |
"""

import gc
import os
import sys
import threading
from contextlib import suppress
from signal import SIGINT

# Until `run` has begun, Ctrl-C is Python's traceback: what only an error needs is imported then
from ldm.common.cli.signals import GRACE, Stopped, handled

INPUT_ERROR, BUG, NO_READER = 2, 1, 141
KEPT = "files that were complete are kept, no half-written ones."


def run(program: str, work, argv=None, stopped: str = KEPT) -> int:
    """Call `work()`; the exit status: what `work` returns if that is an int, else 0, and the table's if it is ended early.

    argv: the command line without the program; None: the process's own, which then ends after this call.
    stopped: what is said after "stopped by Ctrl-C; ".
    """
    final, argv = argv is None, list(sys.argv[1:] if argv is None else argv)
    with handled(program, stopped, final) as signals:
        status, said = _outcome(program, work, argv, signals)
        if said:
            gc.collect()  # the work's objects; progress bars among them end their lines with it
            _say(said)
        if status == 128 + (signals.number or 0) and final:  # libraries' own goodbyes may wait for what never comes
            last = threading.Timer(GRACE, os._exit, [status])
            last.daemon = True
            last.start()
    return status


def _outcome(program: str, work, argv, signals) -> tuple:
    """(exit status, what is to be said)."""
    try:
        try:
            status, said = _ended_well(work()), ""
        except Exception as error:
            if signals.number is not None:  # a library has made another exception of it, as Paddle's C++ code does
                raise Stopped(signals.number) from error
            status, said = _failed(program, argv, error)
        signals.over()
        return status, said
    except KeyboardInterrupt as stop:
        signals.over()
        number = getattr(stop, "number", SIGINT)
        return 128 + number, f"{program}: {signals.line(number, getattr(stop, 'note', ''))}"


def run_command(program: str, make_parser, work, argv=None, prepare=None, stopped: str = KEPT) -> int:
    """`run` for a program of `make_parser()`: parse, prepare(), work(parsed arguments)."""

    def parsed_work():
        parser = make_parser()
        parser.prog = program
        arguments = parser.parse_args(argv)
        if prepare is not None:
            prepare()
        return work(arguments)

    return run(program, parsed_work, argv, stopped)


def _ended_well(result) -> int:
    sys.stdout.flush()  # a full disk or a closed pipe is noticed here, not on the way out
    return result if isinstance(result, int) else 0


def _failed(program: str, argv, error: Exception) -> tuple:
    """(exit status, what is to be said)."""
    if isinstance(error, BrokenPipeError) and _no_reader():
        return NO_READER, ""
    _check_output()
    import traceback

    from ldm.common.cli.failures import line_of
    from ldm.common.cli.flags import wants_traceback

    line = line_of(error)
    status = BUG if line is None else INPUT_ERROR
    if wants_traceback(argv):
        return status, "".join(traceback.format_exception(error)).rstrip()
    return status, f"{program}: {line if line is not None else _bug(program, argv, error)}"


def _bug(program: str, argv, error: Exception) -> str:
    from ldm.common.cli.failures import one_line, write_report

    path = write_report(program, argv, error)
    what = f"{type(error).__name__}: {one_line(str(error))[:300]}".rstrip(": ")
    where = f"{path} has the full report" if path is not None else "--debug shows the traceback"
    return f"this is a bug, in the program or in how it treats an input ({what}); {where}, please pass it on."


def _no_reader() -> bool:
    """Whether standard output is a pipe that nobody reads any more; then nothing more is written to it."""
    import select

    with suppress(OSError, ValueError, AttributeError):  # no poll on Windows, no real file in tests
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
            _abandon_output()
            return True
    return False


def _check_output():
    """Give up what has been printed if it cannot be written: Python would try again, and complain, on its way out."""
    try:
        sys.stdout.flush()
    except OSError:
        _abandon_output()
    except ValueError:  # closed
        pass


def _abandon_output():
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str):
    with suppress(OSError, ValueError):  # nobody listens there either
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)
