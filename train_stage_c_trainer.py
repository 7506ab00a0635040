#!/usr/bin/env python
"""Fine-tune Stage C (the prior) on captioned images: see train.sh for a documented run, --help for every flag."""

import sys

from ldm.programs.train import prior

if __name__ == "__main__":
    sys.exit(prior())
