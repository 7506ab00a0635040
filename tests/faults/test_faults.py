"""A few kills and full disks of a fixed seed through the fault harness. `make faults` kills 400 times."""

import subprocess
import sys

import pytest
from helpers import ROOT


def run(*flags) -> str:
    """What the harness prints; a process of its own, as it forks where nothing has been computed yet."""
    command = [sys.executable, "tests/faults", *map(str, flags)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


def test_some_kills_and_full_disks_lose_nothing():
    names = ("training", "conversion, others", "cache building", "generation")
    assert "survived" in run("--kills", 8, "--disks", 4, "--plain", 0, "--only", *names)


@pytest.mark.slow
def test_kills_of_every_program_lose_nothing():
    assert "survived" in run("--kills", 60, "--disks", 20, "--seed", 1)
