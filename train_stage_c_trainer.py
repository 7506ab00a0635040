#!/usr/bin/env python
"""Fine-tune Stage C (the prior) on captioned images: see train.sh for a documented run, --help for every flag."""

import sys

from ldm.runtime import prepare


def main(argv=None) -> int:
    prepare()
    from paddlenlp.utils.log import logger

    from ldm.training.arguments import parse_arguments
    from ldm.training.run import train

    logger.set_level("INFO")  # PaddleNLP prints every option as DEBUG; options.json has them
    try:
        model_args, data_args, training_args = parse_arguments(argv)
        if not training_args.do_train:
            raise ValueError("Nothing to do: add --do_train.")
        train(model_args, data_args, training_args)
    except (ValueError, OSError) as error:
        print(f"train_stage_c_trainer.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
