"""The programs that are installed with the package; scripts/, train_stage_c_trainer.py and inference.py call the same."""

import sys
from pathlib import Path


def called_as(script: str) -> str:
    """The name by which a program speaks of itself: the installed command's where it was called by that, else the script's."""
    command = Path(sys.argv[0]).stem
    return command if command.startswith("stable-cascade") else script
