#!/usr/bin/env python
"""Convert a LoRA of the prior between the release's layout and that of other tools, or merge it into a prior file."""

import sys

import _clone

from ldm.programs.convert_lora import main

if __name__ == "__main__":
    sys.exit(main())
