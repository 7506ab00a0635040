"""Small things several tests need."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import paddle

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "tests" / "reference"


def array(x, dtype="float64") -> np.ndarray:
    """A tensor or anything array-like as numpy."""
    return np.asarray(x.numpy() if isinstance(x, paddle.Tensor) else x, dtype)


def distance(ours, expected) -> float:
    """||ours - expected|| / ||expected|| in float64; shapes must agree."""
    ours, expected = array(ours), array(expected)
    assert ours.shape == expected.shape
    return float(np.linalg.norm(ours - expected) / np.linalg.norm(expected))


def run_python(code: str, *arguments) -> str:
    """Run `code` in a fresh interpreter in the project's root; its standard output."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_addresses(number: int) -> list:
    """As many different addresses of this machine, "host:port", at which nobody listens yet."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    addresses = ["{}:{}".format(*each.getsockname()) for each in sockets]
    for each in sockets:
        each.close()
    return addresses


def in_session(leader: int) -> list:
    """The living processes of a session."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, _, _, session = re.sub(r".*\) ", "", file.read(), flags=re.DOTALL).split()[:4]
        except OSError:  # it has ended meanwhile
            continue
        if int(session) == leader and state != "Z":
            found.append(int(name))
    return found


def session_ends(leader: int, seconds: float = 30) -> bool:
    """Whether a session's last process has ended within some seconds: one that is killed closes its pipes before it has."""
    end = time.monotonic() + seconds
    while in_session(leader):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
