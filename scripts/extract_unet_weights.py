#!/usr/bin/env python
"""Take the fine-tuned prior, or its LoRA, out of a Trainer's checkpoint, as a file that inference.py loads."""

import sys

import _clone

from ldm.programs.extract import main

if __name__ == "__main__":
    sys.exit(main())
