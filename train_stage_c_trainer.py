#!/usr/bin/env python
"""Fine-tune Stage C (the prior) on captioned images: see train.sh for a documented run, --help for every flag."""

import sys

from ldm.training.program import training_program

if __name__ == "__main__":
    sys.exit(training_program("train_stage_c_trainer.py", "prior"))
