"""Training a part of the cascade: a program for each."""

import os
import signal
from functools import partial
from importlib import import_module

from ldm.common.child_processes import get_signal_at_parents_end
from ldm.common.cli import run
from ldm.common.runtime import prepare
from ldm.programs import called_as

STOPPED = "the same command goes on from the last complete checkpoint."
# Set by Paddle's launcher, and by others for it
RANKS = "PADDLE_TRAINERS_NUM"


def run_trainer(task: str, argv=None):
    """Train what `ldm.training.tasks.<task>` describes by `GROUPS` and `build_task`. argv None: the process's own."""
    if int(os.environ.get(RANKS) or 1) > 1:  # a rank whose launcher was killed would wait for others for ever
        get_signal_at_parents_end(signal.SIGTERM, os.getppid())
    prepare()
    from ldm.training.flags.arguments import parse_into
    from ldm.training.run import train
    from ldm.training.watching.console import prepare_log

    prepare_log()
    trainer = import_module(f"ldm.training.tasks.{task}")
    train(trainer.build_task, *parse_into(trainer.GROUPS, argv))


def _program(script: str, task: str, argv=None) -> int:
    return run(called_as(script), lambda: run_trainer(task, argv), argv, STOPPED)


# script, file in ldm/training/tasks
prior = partial(_program, "train_stage_c_trainer.py", "prior")
decoder = partial(_program, "train_stage_b.py", "decoder")
stage_a = partial(_program, "train_stage_a.py", "stage_a")
previewer = partial(_program, "train_previewer.py", "previewer")
clip = partial(_program, "train_clip.py", "clip")
