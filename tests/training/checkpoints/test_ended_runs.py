"""Trainings with a loader's worker that are ended by a signal: status, one line, no process and no shared memory left.

Each is a process that imports Paddle for seconds, so they are started together.
"""

import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import ROOT, in_session
from small_release import write_scenes_and_release

FLAGS = (
    "--do_train --max_steps 100000 --save_steps 100000 --per_device_train_batch_size 2 --resolution 64 --logging_steps 1 "
    "--dataloader_num_workers 1 --preflight False --image_logging_steps 0"
)
RUNS = {
    "killed": (signal.SIGKILL, []),
    "terminated": (signal.SIGTERM, []),
    "interrupted": (signal.SIGINT, []),
    "saving": (signal.SIGTERM, ["--save_on_signal", "True"]),
}


class Run:
    """A training in a session of its own; its output goes to a file."""

    def __init__(self, folder, name, more):
        self.folder, self.log = folder, folder / f"{name}.log"
        paths = [
            "--weights_path",
            folder / "release",
            "--dataset_path",
            folder / "scenes",
            "--output_dir",
            folder / name,
        ]
        command = [sys.executable, "train_stage_c_trainer.py", *FLAGS.split(), *paths, *more]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    def wait_until_it_trains(self):
        while "step 3/" not in self.log.read_text(errors="replace"):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def workers(self) -> list:
        return [process for process in in_session(self.process.pid) if process != self.process.pid]

    def end(self, number) -> int:
        """As a terminal does for Ctrl-C, to all; any other signal to the process itself."""
        self.makers = [self.process.pid, *self.workers()]
        assert len(self.makers) == 2
        (os.killpg if number == signal.SIGINT else os.kill)(self.process.pid, number)
        self.status = self.process.wait(timeout=300)
        self.ended = time.monotonic()

    def last_line(self) -> str:
        text = self.log.read_text()
        assert "Traceback" not in text and "C++" not in text, text[-3000:]
        return text.splitlines()[-1]

    def nothing_is_left(self) -> bool:
        while time.monotonic() < self.ended + 60:  # without a word it would take minutes
            left = [name for name in os.listdir("/dev/shm") if name.split("_")[1:2] in [[str(m)] for m in self.makers]]
            if not left and not in_session(self.process.pid):
                return True
            time.sleep(0.1)
        return False


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Every run, ended by its signal."""
    if not os.path.isdir("/proc/1") or not os.path.isdir("/dev/shm"):
        pytest.skip("needs Linux' /proc and /dev/shm")
    folder = write_scenes_and_release(tmp_path_factory.mktemp("ended"))
    started = {name: Run(folder, name, more) for name, (_, more) in RUNS.items()}
    for name, run in started.items():
        run.wait_until_it_trains()
        run.end(RUNS[name][0])
        run.nothing = run.nothing_is_left()
    yield started
    for run in started.values():
        run.process.kill()


@pytest.mark.parametrize("name, status", [("killed", -9), ("terminated", 143), ("interrupted", 130), ("saving", 143)])
def test_nothing_is_left(runs, name, status):
    assert runs[name].status == status and runs[name].nothing


def test_what_is_said(runs):
    remedy = "the same command goes on from the last complete checkpoint."
    assert runs["terminated"].last_line() == f"train_stage_c_trainer.py: stopped by SIGTERM; {remedy}"
    assert runs["interrupted"].last_line() == f"train_stage_c_trainer.py: stopped by Ctrl-C; {remedy}"


def test_save_on_signal_ends_with_a_checkpoint_and_nothing_else(runs):
    output = runs["saving"].folder / "saving"
    (checkpoint,) = output.glob("checkpoint-*")
    assert (checkpoint / "complete.json").is_file()
    said = f"stopped by SIGTERM; {checkpoint} is saved, the same command goes on from it."
    assert runs["saving"].last_line() == f"train_stage_c_trainer.py: {said}"
    assert not list(output.glob("model_state*")) and not (output / "train_results.json").exists()
    for name in ("terminated", "interrupted"):
        assert not list((runs[name].folder / name).glob("checkpoint-*"))
