"""Caches: features that training reads, compiled programs that generation runs. Both have checksums; nothing is excused."""

from functools import partial

from fuzz.case import Kind
from fuzz.kinds.release import damaged_by_suffix
from fuzz.programs import inference, train
from fuzz.templates import files_below


def features(folder):
    return files_below(folder / "features")


def programs(folder):
    return files_below(folder / "compiled")


def read_features(input):
    return train(input.folder, "--max_steps", 1, "--feature_cache", input.folder / "features")


def read_programs(input):
    return inference(input.folder, "--compile", "--compile_cache", input.folder / "compiled")


def excuse_features(input, before, outcome):
    """The recipe's text is for messages; its folder's name is its hash."""
    return None


KINDS = (
    Kind("feature cache", 6, ("release", "few", "features"), partial(damaged_by_suffix, features), read_features,
         excuse_features, batch=10),
    Kind("compile cache", 4, ("release", "compiled"), partial(damaged_by_suffix, programs), read_programs, batch=5),
)  # fmt: skip
