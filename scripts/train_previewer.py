#!/usr/bin/env python
"""Train the previewer, which shows the prior's latents as small images: --help for every flag."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ldm.training.program import training_program  # noqa: E402

if __name__ == "__main__":
    sys.exit(training_program("train_previewer.py", "previewer"))
