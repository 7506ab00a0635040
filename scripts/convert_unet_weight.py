#!/usr/bin/env python
"""Convert Stage B and C weights between the official layout and Paddle's, streamed one tensor at a time."""

import sys

import _clone

from ldm.programs.convert_unet import main

if __name__ == "__main__":
    sys.exit(main())
