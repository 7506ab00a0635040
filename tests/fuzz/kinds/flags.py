"""Flags of the programs with values that nobody means: other types, non-finite, negative, huge, of no sense."""

import contextlib
import io
import math
import re
from functools import cache
from importlib import import_module

from fuzz.case import Input, Kind
from fuzz.json_damage import nested
from fuzz.outcomes import Ended, main_of
from fuzz.programs import extract, inference, tensors_in, train

VALUES = (
    *("nan", "inf", "-inf", "NaN", "1e999", "-0.0", "-1", "0", "1", "2", "3", "0.5", "1e-30", "1e30", "-1e30"),
    *("7" * 23, "-" + "7" * 23, "99999999", "2147483648", "-2147483649", "1.0", "1e3", "0x10", "١٢", "1_000", "", " "),
    *(
        "True",
        "False",
        "None",
        "none",
        "yes",
        "maybe",
        "x",
        "é",
        "\udce9",
        "a b",
        "../x",
        "/",
        ".",
        "~",
        "*",
        "{0..99}",
    ),
    *("{0..999999999}", "--", "-", "x" * 2000, nested(500), "[1, 2]", "{}", "'", '"', "\n", "a\nb", "%s", "$HOME"),
)
# Too many workers fork before anything is refused, on a machine that others use; tests/fuzz/corpus/flags.py parses that
CAREFUL = {"--dataloader_num_workers": ("-1", "nan", "x", "1.5", "0")}
NOT_TRIED = ("--help", "--debug")  # that ends with a traceback on purpose


@cache
def flags_of(name: str) -> tuple:
    """The flags of a program: the trainer's from its parser, as not all are listed, others' by what --help lists."""
    if name == "trainer":
        found = trainer_flags()
    else:
        text = io.StringIO()
        with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit, Ended):
            PROGRAMS[name][0](["--help"])
        found = set(re.findall(r"(?<![\w-])--[a-zA-Z]\w+", text.getvalue()))
    assert len(found) > 4, f"{name} lists no flags"
    return tuple(sorted(found - set(NOT_TRIED)))


def trainer_flags() -> set:
    from ldm.training.flags.arguments import CascadeTrainingArguments
    from ldm.training.flags.parser import FlagParser
    from ldm.training.tasks import prior

    parser = FlagParser((*prior.GROUPS, CascadeTrainingArguments))
    return {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}


def damage(name, rng, folder) -> Input:
    """One flag, sometimes two, with such a value."""
    chosen = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        flag = rng.choice(flags_of(name))
        chosen += [flag, rng.choice(CAREFUL.get(flag, VALUES))]
    return Input(folder, " ".join(repr(part)[1:-1][:60] for part in chosen), flags=tuple(chosen))


def read(name, input):
    import os

    os.chdir(input.folder)  # what a value such as ../x names is below it
    return PROGRAMS[name][1](input.folder, input.flags)


def help_of(module):
    def call(argv):
        main_of(import_module(f"ldm.programs.{module}").main, argv)

    return call


def train_with(folder, flags):
    return train(folder, "--max_steps", "1", *flags)


def infer_with(folder, flags):
    return inference(folder, *flags)


def cache_with(folder, flags):
    from ldm.programs import cache_features

    paths = ("--weights_path", folder / "release", "--dataset_path", folder / "few", "--feature_cache", folder / "made")
    main_of(cache_features.main, [*paths, "--resolution", 64, *flags])


def convert_with(folder, flags):
    from ldm.programs import convert_unet

    target = folder / "made" / "converted.safetensors"
    main_of(
        convert_unet.main,
        ["--input", folder / "release" / "stage_c_lite.safetensors", "--output", target, *flags],
    )


def merge_with(folder, flags):
    from ldm.programs import convert_lora

    target, prior = folder / "made" / "merged.safetensors", folder / "release" / "stage_c_lite.safetensors"
    main_of(
        convert_lora.main,
        ["--lora", folder / "lora" / "named.safetensors", "--merge_into", prior, "--output", target, *flags],
    )
    return tensors_in(target) if target.is_file() else None


def extract_with(folder, flags):
    extract("--checkpoint_path", folder / "run", "--model_file", folder / "made" / "prior.safetensors", *flags)


PROGRAMS = {  # name: (what prints its help, what runs it with flags)
    "trainer": (None, train_with),
    "inference": (help_of("generate"), infer_with),
    "cache_features": (help_of("cache_features"), cache_with),
    "convert": (help_of("convert_unet"), convert_with),
    "convert_lora": (help_of("convert_lora"), merge_with),
    "extract": (help_of("extract"), extract_with),
}


TEXTS = (  # which may say anything
    "--caption", "--output", "--output_dir", "--model_file", "--feature_cache", "--compile_cache", "--index_dir", "--run_name",
    "--logging_dir",
)  # fmt: skip


def excuse(input, before, outcome):
    """Another value is what flags are for, but no program has a use for NaN or infinity, nor for 23 digits."""
    for flag, value in zip(input.flags[::2], input.flags[1::2]):
        try:
            if flag not in TEXTS and (not math.isfinite(number := float(value)) or abs(number) > 1e20):
                return None
        except ValueError:
            pass
    return "another valid value"


SHOWN = 60  # characters of a value that a message shows at least


def names(input):
    """The flags, or the beginning of a value, as a word of its own or as Python writes it; `--no_x True` is x."""
    plain = [flag.lstrip("-").removeprefix("no_") for flag in input.flags[::2]]
    values = input.flags[1::2]
    shown = [value.encode("utf-8", "backslashreplace").decode() for value in values]  # as standard error has it
    return (
        *input.flags[::2],
        *plain,
        *(f" {' '.join(value.split())[:SHOWN]}" for value in shown if value.strip()),  # a message is one line
        *(repr(value)[:SHOWN] for value in values),
    )


def _kind(name, share, template):
    from functools import partial

    return Kind(f"flags, {name}", share, template, partial(damage, name), partial(read, name), excuse, batch=4, names=names,
                seconds=40)  # fmt: skip


KINDS = (
    _kind("trainer", 14, ("release", "few")),
    _kind("inference", 10, ("release", "lora")),
    _kind("cache_features", 3, ("release", "few")),
    _kind("convert", 2, ("release",)),
    _kind("convert_lora", 2, ("release", "lora")),
    _kind("extract", 2, ("release", "run")),
)
