"""How a program ends: its status, all that it said, what it made. Programs run in this process, output is taken down."""

import contextlib
import os
import re
import sys
import tempfile
import traceback
from dataclasses import dataclass

REFUSED = 2


@dataclass(frozen=True)
class Outcome:
    """How a program ended. status None: by the exception whose traceback is in `output`."""

    status: int | None
    output: str
    message: str  # the last thing it said under its name
    result: object = None


class Ended(Exception):
    """A program that did not end well; raised by `main_of` so that a reader stops there."""

    def __init__(self, status: int):
        super().__init__(f"exit status {status}")
        self.status = status


def main_of(main, argv, program=None) -> None:
    """Call a program's main(argv); Ended unless it returns 0. program: its name, where main's module is not named so."""
    sys.argv[0] = program or f"{main.__module__}.py"  # what argparse calls it
    status = main([str(part) for part in argv])
    if status:
        raise Ended(status)


def outcome_of(work) -> Outcome:
    """Call `work()` with all output, that of C libraries included, taken down."""
    result, status, trace, output = None, 0, "", []
    with taken_down(output):
        try:
            result = work()
        except Ended as ended:
            status = ended.status
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1 if ended.code else 0
        except BaseException:
            status, trace = None, traceback.format_exc()
    text = "".join([*output, trace])
    return Outcome(status, text, said_last(text), result)


def said_last(output: str) -> str:
    """From the last "PROGRAM.py: " that begins a line on: the message of a refusal. Bars may stand before it in the output."""
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[\d*[A-Za-z]", "\n", output))
    starts = [number for number, line in enumerate(lines) if re.match(r"[\w-]+\.py: ", line)]
    return "\n".join(lines[starts[-1] :]).strip() if starts else ""


@contextlib.contextmanager
def taken_down(output: list):
    """File descriptors 1 and 2 go to a file; at the end its text is appended to `output`."""
    saved = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as file:
        flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            flush()
            for number, old in enumerate(saved, 1):
                os.dup2(old, number)
                os.close(old)
            file.seek(0)
            output.append(file.read().decode("utf-8", "replace"))


def flush():
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
