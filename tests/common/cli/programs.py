"""The programs whose command lines argparse reads, and numbers that none of them may take. No test itself."""

import importlib

from helpers import ROOT

TRAINERS = ("train_clip", "train_previewer", "train_stage_a", "train_stage_b")
SCRIPTS = sorted(
    path.stem for path in (ROOT / "scripts").glob("*.py") if path.stem not in TRAINERS and path.stem[0] != "_"
)
NAMES = ["inference", *SCRIPTS]
ABSURD = ("nan", "inf", "-inf", "1e30", "1" + "0" * 30, "-" + "9" * 23, "seven", "", "0x10", "1_0e99", "٣" * 30)


def parser_of(name: str):
    main = importlib.import_module(name).main  # its own, or that of a module of ldm.programs
    return importlib.import_module(main.__module__).make_parser()
