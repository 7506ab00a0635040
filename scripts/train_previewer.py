#!/usr/bin/env python
"""Train the previewer, which shows the prior's latents as small images: --help for every flag."""

import sys

import _clone

from ldm.programs.train import previewer

if __name__ == "__main__":
    sys.exit(previewer())
