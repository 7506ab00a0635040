"""The scripts use the project they are part of, installed or not; another clone's in the same environment is not theirs."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
