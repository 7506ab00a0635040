"""The harness itself: it sees code that runs, processes that die or hang, and answers that are no good."""

import os
import pickle
import signal
import time
from pathlib import Path

import pytest

from fuzz import pickle_damage
from fuzz.case import Input, Kind
from fuzz.forks import Died, each_in_forks
from fuzz.outcomes import Outcome, main_of, outcome_of
from fuzz.verdicts import EXECUTED, REFUSAL, SAME, SILENT, TRACEBACK, UNNAMED, judge


@pytest.mark.parametrize("number", range(4))
def test_hostile_opcodes_would_run_if_they_were_let(tmp_path, number):
    pickle.loads(pickle_damage.opcodes(tmp_path / "marker")[number])
    assert (tmp_path / "marker").exists()


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_hostile_calls_would_run_if_they_were_let(tmp_path, number, protocol):
    pickle.loads(pickle.dumps(pickle_damage.calls(tmp_path / "marker")[number], protocol))
    assert (tmp_path / "marker").exists()


def test_whoever_dies_or_hangs_is_named_and_the_rest_goes_on():
    def work(key, item):
        if item == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "hang":
            time.sleep(60)
        return item

    results = [(item, value) for _, item, value in each_in_forks(work, [(1, [1, "kill", 2, "hang", 3])], 2, seconds=1)]
    assert [item for item, _ in results] == [1, "kill", 2, "hang", 3]
    assert [isinstance(value, Died) for _, value in results] == [False, True, False, True, False]
    assert "SIGKILL" in results[1][1].why and "1 second" in results[3][1].why


def test_memory_is_bounded():
    def work(key, item):
        try:
            return len(bytearray(64 << 30))
        except MemoryError:
            return "bounded"

    assert [value for *_, value in each_in_forks(work, [(1, [1])])] == ["bounded"]


def kind(**options):
    return Kind("kind", 1, (), damage=None, read=None, **options)


@pytest.mark.parametrize(
    "outcome, verdict",
    [
        (Outcome(2, "", "a.py: file.bin is damaged: write it again."), REFUSAL),
        (Outcome(2, "", "a.py: it is damaged."), UNNAMED),
        (Outcome(2, "", "a.py: "), UNNAMED),
        (Outcome(2, "", ""), UNNAMED),
        (Outcome(2, "", "a.py: file.bin " + "x" * 10_000), UNNAMED),
        (Outcome(1, "", "a.py: this is a bug"), TRACEBACK),
        (Outcome(None, "Traceback (most recent call last)\nKeyError", ""), TRACEBACK),
        (Outcome(0, "Traceback (most recent call last)\nin a thread", "", "right"), TRACEBACK),
        (Outcome(0, "", "", "right"), SAME),
        (Outcome(0, "", "", "wrong"), SILENT),
    ],
)
def test_verdicts(tmp_path, outcome, verdict):
    damaged = Input(tmp_path, "note", tmp_path / "file.bin", b"a", b"b")
    assert judge(kind(), damaged, outcome, "right", tmp_path / "marker")[0] == verdict
    (tmp_path / "marker").write_text("ran")
    assert judge(kind(), damaged, outcome, "right", tmp_path / "marker")[0] == EXECUTED


def test_only_what_may_be_excused_is(tmp_path):
    lenient = kind(excuse=lambda *_: "other values")
    outcome = Outcome(0, "", "", "wrong")
    for must_refuse, verdict in ((False, "other values"), (True, SILENT)):
        damaged = Input(tmp_path, "note", tmp_path / "file.bin", b"a", b"b", must_refuse=must_refuse)
        assert judge(lenient, damaged, outcome, "right", tmp_path / "marker")[0] == verdict


def test_a_program_is_taken_down_with_its_status():
    def main(argv):
        os.write(1, b"\rbar: 50%|###|\x1b[Ause.py: no\nuse.py: file.bin is damaged: write it again.\n")
        return 2

    outcome = outcome_of(lambda: main_of(main, []))
    assert (outcome.status, outcome.message) == (2, "use.py: file.bin is damaged: write it again.")
    assert outcome_of(lambda: 1 / 0).status is None
    assert outcome_of(lambda: Path("x")).result == Path("x")
