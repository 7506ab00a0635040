"""What the training scripts at the top level and in scripts/ share: a command line becomes a run."""

from ldm.cli import run
from ldm.runtime import prepare


def training_program(name: str, module: str, argv=None) -> int:
    """Run the trainer that `ldm.training.<module>` describes by `GROUPS` and `build_task`; the exit status."""
    prepare()
    from paddlenlp.utils.log import logger

    logger.set_level("INFO")  # PaddleNLP prints every option as DEBUG; options.json has them
    return run(name, lambda: _train(module, argv))


def _train(module: str, argv):
    from importlib import import_module

    from ldm.training.arguments import parse_into
    from ldm.training.run import train

    trainer = import_module(f"ldm.training.{module}")
    train(trainer.build_task, *parse_into(trainer.GROUPS, argv))
