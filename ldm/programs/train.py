"""Training a part of the cascade: a program for each."""

from functools import partial

from ldm.common.cli import run
from ldm.programs import called_as
from ldm.training.program import run_trainer

STOPPED = "the same command goes on from the last complete checkpoint."


def _program(script: str, task: str, argv=None) -> int:
    return run(called_as(script), lambda: run_trainer(task, argv), argv, STOPPED)


# script, file in ldm/training/tasks
prior = partial(_program, "train_stage_c_trainer.py", "prior")
decoder = partial(_program, "train_stage_b.py", "decoder")
stage_a = partial(_program, "train_stage_a.py", "stage_a")
previewer = partial(_program, "train_previewer.py", "previewer")
clip = partial(_program, "train_clip.py", "clip")
