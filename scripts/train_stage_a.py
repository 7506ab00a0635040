#!/usr/bin/env python
"""Train Stage A, the VQ autoencoder, on images: --help for every flag."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldm.training.program import training_program  # noqa: E402

if __name__ == "__main__":
    sys.exit(training_program("train_stage_a.py", "stage_a"))
