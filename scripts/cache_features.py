#!/usr/bin/env python
"""Run a stage's frozen encoders once over a dataset, so that its training needs none of them."""

import sys

import _clone

from ldm.programs.cache_features import main

if __name__ == "__main__":
    sys.exit(main())
