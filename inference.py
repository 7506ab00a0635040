#!/usr/bin/env python
"""Text to PNG files: result_0.png, result_1.png, ... Every file holds the settings it was made with."""

import sys

from ldm.programs.generate import main

if __name__ == "__main__":
    sys.exit(main())
