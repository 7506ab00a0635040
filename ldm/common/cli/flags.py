"""Command lines: the parser of every program, mistakes in one line, flags that look like the one meant. Standard library only."""

import argparse
import re
import sys

SHOWN, MOST_SHOWN = 200, 5  # characters of an unknown argument, arguments

# What other programs call it -> what ours may
OTHER_NAMES = {
    "--prompt": ("--caption",),
    "--text": ("--caption",),
    "--num_inference_steps": ("--steps",),
    "--guidance_scale": ("--cfg",),
    "--num_images": ("--batch_size", "--count"),
    "--model": ("--weights", "--weights_path"),
    "--resolution": ("--size", "--height", "--width"),
    "--output": ("--output_dir", "--model_file"),
}


class Parser(argparse.ArgumentParser):
    """argparse's, for exact flags only; every mistake is a ValueError of one line, unknown flags are named first."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)
        self.add_argument("--debug", action="store_true", help="show the traceback of an error instead of its one line")

    def parse_args(self, argv=None, namespace=None):
        known = known_flags(self)
        arguments = list(sys.argv[1:] if argv is None else argv)
        flags = [text.split("=")[0] for text in arguments[: _end_of_flags(arguments)] if text.startswith("--")]
        if unknown := [flag for flag in flags if flag not in known]:
            raise ValueError(unknown_flags(unknown, known))
        parsed, unknown = self.parse_known_args(arguments, namespace)
        if unknown:
            raise ValueError(unknown_flags(unknown, known))
        return parsed

    def _get_value(self, action, arg_string):
        """Shells put "" where a variable is not set: it is no path, and must not stand for a flag that was left out."""
        value = super()._get_value(action, arg_string)
        if not arg_string.strip() and arg_string != action.default:
            raise argparse.ArgumentError(action, "is empty: give a value or leave it out")
        return value

    def error(self, message):
        refuse(message)


def _end_of_flags(arguments: list) -> int:
    return arguments.index("--") if "--" in arguments else len(arguments)


def refuse(message: str):
    """ValueError of argparse's message, as a sentence of ours: 'argument --cfg: nan: must ...' -> '--cfg nan: must ...'."""
    message = re.sub(r"^argument (-\S+): (?=invalid|expected|not allowed|Truthy)", r"\1: ", message)
    message = re.sub(r"^argument (-\S+?): ", r"\1 ", message)
    message = re.sub(r"^the following arguments are required: (.*)$", r"\1: required, but not given", message)
    raise ValueError(f"{message.rstrip('.')}. --help lists all flags.")


def known_flags(parser) -> list:
    """Every flag of a parser, each as it is written."""
    return [flag for action in parser._actions for flag in action.option_strings]


def unknown_flags(unknown: list, known: list) -> str:
    """What is said of arguments that are no flags, or no flag's value: the known flags that they look like."""
    flags = [text for text in unknown if text.startswith("-") and text.strip("-")]
    if not flags:
        values = " ".join(f"{text!r:.{SHOWN}}" for text in unknown[:MOST_SHOWN])
        return (
            f"{values} belongs to no flag: values follow --FLAG, and texts with spaces need quotes. --help lists all."
        )
    similar = sorted({match for flag in flags for match in _meant(flag.split("=")[0], known)})
    meant = f" Do you mean {' or '.join(similar)}?" if similar else ""
    return f"Unknown {'flags' if len(flags) > 1 else 'flag'} {', '.join(flags)}.{meant} --help lists all."


def _meant(flag: str, known: list) -> list:
    from difflib import get_close_matches

    flag = flag.replace("-", "_").replace("__", "--", 1) if flag.startswith("--") else flag
    return [name for name in OTHER_NAMES.get(flag, ()) if name in known] or get_close_matches(flag, known, n=1)


def wants_traceback(argv: list) -> bool:
    """Whether a command line, perhaps one that cannot be parsed, says --debug."""
    return any(
        text == "--debug"
        and [*argv, ""][place + 1].lower() not in ("false", "0", "no")
        or text.lower() == "--debug=true"
        for place, text in enumerate(argv)
    )
