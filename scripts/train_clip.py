#!/usr/bin/env python
"""Train a pair of CLIP towers on captioned images: --help for every flag."""

import sys

import _clone

from ldm.programs.train import clip

if __name__ == "__main__":
    sys.exit(clip())
