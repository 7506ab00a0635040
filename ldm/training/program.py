"""What the training scripts at the top level and in scripts/ share: a command line becomes a run."""

import os
import signal

from ldm.child_processes import get_signal_at_parents_end
from ldm.cli import run
from ldm.runtime import prepare

# Set by Paddle's launcher, and by others for it
RANKS = "PADDLE_TRAINERS_NUM"
STOPPED = "the same command goes on from the last complete checkpoint."


def training_program(name: str, module: str, argv=None) -> int:
    """Run the trainer that `ldm.training.<module>` describes by `GROUPS` and `build_task`; the exit status."""
    return run(name, lambda: _train(module, argv), argv, STOPPED)


def _train(module: str, argv):
    if int(os.environ.get(RANKS) or 1) > 1:  # a rank whose launcher was killed would wait for others for ever
        get_signal_at_parents_end(signal.SIGTERM, os.getppid())
    prepare()
    from importlib import import_module

    from ldm.training.arguments import parse_into
    from ldm.training.console import prepare_log
    from ldm.training.run import train

    prepare_log()
    trainer = import_module(f"ldm.training.{module}")
    train(trainer.build_task, *parse_into(trainer.GROUPS, argv))
