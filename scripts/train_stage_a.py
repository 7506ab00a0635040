#!/usr/bin/env python
"""Train Stage A, the VQ autoencoder, on images: --help for every flag."""

import sys

import _clone

from ldm.programs.train import stage_a

if __name__ == "__main__":
    sys.exit(stage_a())
