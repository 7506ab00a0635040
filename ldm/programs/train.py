"""Training a part of the cascade: a program for each."""

from ldm.common.cli import run
from ldm.programs import called_as
from ldm.training.program import run_trainer

STOPPED = "the same command goes on from the last complete checkpoint."


def prior(argv=None) -> int:
    return _program("train_stage_c_trainer.py", "prior", argv)


def decoder(argv=None) -> int:
    return _program("train_stage_b.py", "decoder", argv)


def stage_a(argv=None) -> int:
    return _program("train_stage_a.py", "stage_a", argv)


def previewer(argv=None) -> int:
    return _program("train_previewer.py", "previewer", argv)


def clip(argv=None) -> int:
    return _program("train_clip.py", "clip", argv)


def _program(script: str, task: str, argv) -> int:
    return run(called_as(script), lambda: run_trainer(task, argv), argv, STOPPED)
