"""What the training scripts at the top level and in scripts/ share: a command line becomes a run."""

from ldm.cli import run
from ldm.runtime import prepare

STOPPED = "the same command goes on from the last complete checkpoint."


def training_program(name: str, module: str, argv=None) -> int:
    """Run the trainer that `ldm.training.<module>` describes by `GROUPS` and `build_task`; the exit status."""
    return run(name, lambda: _train(module, argv), argv, STOPPED)


def _train(module: str, argv):
    prepare()
    from importlib import import_module

    from paddlenlp.utils.log import logger

    logger.set_level("INFO")  # PaddleNLP prints every option as DEBUG; options.json has them
    from ldm.training.arguments import parse_into
    from ldm.training.run import train

    trainer = import_module(f"ldm.training.{module}")
    train(trainer.build_task, *parse_into(trainer.GROUPS, argv))
