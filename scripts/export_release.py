#!/usr/bin/env python
"""Write the networks of a Trainer's checkpoint into a release folder, under the official names and in their layout."""

import sys

import _clone

from ldm.programs.export import main

if __name__ == "__main__":
    sys.exit(main())
