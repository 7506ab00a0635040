#!/usr/bin/env python
"""Fine-tune Stage C (the prior) on captioned images: see train.sh for a documented run, --help for every flag."""

import sys

from ldm.cli import run
from ldm.runtime import prepare


def train_from(argv=None):
    """Parse the command line and train."""
    from ldm.training.arguments import parse_arguments
    from ldm.training.run import train

    model_args, data_args, training_args = parse_arguments(argv)
    if not training_args.do_train:
        raise ValueError("Nothing to do: add --do_train.")
    train(model_args, data_args, training_args)


def main(argv=None) -> int:
    prepare()
    from paddlenlp.utils.log import logger

    logger.set_level("INFO")  # PaddleNLP prints every option as DEBUG; options.json has them
    return run("train_stage_c_trainer.py", lambda: train_from(argv))


if __name__ == "__main__":
    sys.exit(main())
