"""Every past finding, and some hundred inputs of a fixed seed, through the fuzz harness. `make fuzz` tries thousands."""

import json
import subprocess
import sys

import pytest
from helpers import ROOT

from fuzz.corpus import FINDINGS

INPUTS = 100


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What one run of the harness prints; a process of its own, as it forks where nothing has been computed yet."""
    results = tmp_path_factory.mktemp("fuzz")
    command = [sys.executable, "tests/fuzz", "--corpus", "--inputs", INPUTS, "--seed", 0, "--results", results]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert "inputs in" in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def verdicts(output):
    """{finding: what came of it}."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"finding"')]
    return {line["finding"]: line for line in lines}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_past_finding_stays_closed(name, verdicts):
    assert not verdicts[name]["failed"], verdicts[name]


def test_damaged_inputs_are_refused_in_one_line(output):
    table = output[output.index("\nkind ") :]
    assert " failed" not in table, table
