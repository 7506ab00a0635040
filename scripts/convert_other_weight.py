#!/usr/bin/env python
"""Convert Stage A, the EfficientNet encoder and the previewer, and copy the CLIP folders along."""

import sys

import _clone

from ldm.programs.convert_other import main

if __name__ == "__main__":
    sys.exit(main())
