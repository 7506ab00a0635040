"""Every past finding as a small generator: what was damaged, and by which kind it is read and judged. `make test` replays it."""

from fuzz.corpus import checkpoints, datasets, flags, harness, weights  # noqa: F401  (findings register themselves)
from fuzz.corpus.finding import FINDINGS, Finding  # noqa: F401
