"""Programs that wait for a signal, started and sent one; used by test_signals.py, no test itself."""

import signal
import time

START = """
import os, signal, sys, time
from pathlib import Path
from ldm.common.atomic import atomic_path
from ldm.common.cli import run
from ldm.common.cli import signals
signals.GRACE = 30.0  # so long a loaded machine may take; what is about the time sets its own
folder = Path(sys.argv[1])
def ready():
    print("ready", flush=True)
"""


END = """
sys.exit(run("program.py", work))
"""


WAIT = """
def work():
    ready()
    time.sleep(60)
"""


STOPPED = "program.py: stopped by {}; files that were complete are kept, no half-written ones.\n"


def heed_all_signals():
    """In a child: a shell's background jobs are born without Ctrl-C, and those of nohup without the end of a terminal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def ended(process, *numbers) -> tuple:
    """Send signals; exit status and standard error."""
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.2)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def signal_name(number) -> str:
    return "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
