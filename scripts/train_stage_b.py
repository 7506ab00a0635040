#!/usr/bin/env python
"""Train Stage B, the decoder, on captioned images; with --train_encoder the semantic encoder too: --help for every flag."""

import sys

import _clone

from ldm.programs.train import decoder

if __name__ == "__main__":
    sys.exit(decoder())
