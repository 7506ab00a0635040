"""What is run in every environment: parity, a picture, a little training, extraction, a compiled program."""

import json
import os
import re
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from console import strays
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DEMO = "assets/demo"
CAPTION = "a large red circle in the centre on a white background"
PICTURE = ["inference.py", "--weights", DEMO, "--caption", CAPTION, "--seed", 1]
TRAINING = ["train_stage_c_trainer.py", "--do_train", "--weights_path", DEMO, "--dataset_path", "assets/houses",
            "--output_size", 384, "--per_device_train_batch_size", 2, "--max_steps", 5, "--logging_steps", 1,
            "--save_steps", 5, "--image_logging_steps", 5, "--num_inference_steps", 2, "--seed", 23]  # fmt: skip


@dataclass
class Results:
    """Of one environment. Pictures are compared by (largest difference in levels of 0 to 255, share of values that differ)."""

    name: str
    versions: dict
    parity: tuple = ()  # (rows that passed, rows)
    losses: list = field(default_factory=list)  # of the training steps
    picture: tuple = ()  # against the first environment's
    tuned: bool = False  # the extracted prior made a picture
    compiled: tuple = ()  # against the same environment's own, not compiled
    refused: dict = field(default_factory=dict)  # {program's step: the line with which it was refused}
    problems: dict = field(default_factory=dict)  # {step: what went wrong}
    stray: list = field(default_factory=list)  # lines of other people's libraries
    seconds: dict = field(default_factory=dict)  # {step: time}


class Journey:
    """All steps with one interpreter. work: a folder of its own; reference: the picture to compare with, which may be its own."""

    def __init__(self, interpreter: Path, work: Path, results: Results, reference: Path):
        self.interpreter, self.work, self.results, self.reference = interpreter, work, results, reference
        self.picture = work / "picture" / "result_0.png"

    def run(self) -> Results:
        """All steps; the results are kept beside `work`."""
        shutil.rmtree(self.work, ignore_errors=True)
        for step in (self.parity, self.generation, self.training, self.extraction, self.compilation):
            step()
        kept_results(self.work).write_text(json.dumps(asdict(self.results)), encoding="utf-8")
        return self.results

    def parity(self):
        output = self._program("parity", "scripts/verify_parity.py", "--no_full_size")
        if found := re.search(r"(\d+) of (\d+) rows passed", output or ""):
            self.results.parity = tuple(map(int, found.groups()))

    def generation(self):
        if self._program("picture", *PICTURE, "--output_dir", self.picture.parent) is not None:
            self.results.picture = difference(self.picture, self.reference)

    def training(self):
        output = self.work / "training"
        if self._program("training", *TRAINING, "--output_dir", output) is not None:
            history = json.loads((output / "trainer_state.json").read_text())["log_history"]
            self.results.losses = [entry["loss"] for entry in history if "loss" in entry]

    def extraction(self):
        tuned = self.work / "tuned.safetensors"
        flags = ["--checkpoint_path", self.work / "training", "--model_file", tuned]
        if self._program("extraction", "scripts/extract_unet_weights.py", *flags) is not None:
            flags = ["--prior_weights", tuned, "--output_dir", self.work / "tuned"]
            self.results.tuned = self._program("tuned picture", *PICTURE, *flags) is not None

    def compilation(self):
        folder = self.work / "compiled"
        flags = ["--compile", "--compile_cache", self.work / "programs", "--output_dir", folder]
        if self._program("compiled picture", *PICTURE, *flags) is not None and self.picture.is_file():
            self.results.compiled = difference(folder / "result_0.png", self.picture)

    def _program(self, step: str, *command):
        """Standard output; None where the program refused, which is noted with its line, or failed."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        started = time.monotonic()
        done = subprocess.run([str(self.interpreter), *map(str, command)], cwd=ROOT, capture_output=True, text=True,
                              env=env | {"PYTHONNOUSERSITE": "1"})  # fmt: skip
        self.results.seconds[step] = time.monotonic() - started
        if done.returncode == 0:
            self.results.stray += strays(done.stderr)
            return done.stdout
        last = (done.stderr.strip() or "without a word").splitlines()[-1]
        kind = self.results.refused if done.returncode == 2 else self.results.problems
        kind[step] = last
        return None


def kept_results(work: Path) -> Path:
    """Where the results of an environment are, for runs of others that write the table."""
    return work.parent / "results.json"


def difference(path, other) -> tuple:
    """(largest difference in levels, share of values that differ) of two pictures of one size."""
    ours, theirs = (np.asarray(Image.open(each), np.int16) for each in (path, other))
    apart = np.abs(ours - theirs)
    return int(apart.max()), float((apart > 0).mean())
