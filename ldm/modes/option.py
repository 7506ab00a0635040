"""Fields of dataclasses that are flags of the command line as well. Standard library only."""

from dataclasses import MISSING, field, fields


def option(default, kind, text: str, **argparse_options):
    """A field that `add_options` makes a flag of: `kind` as argparse's type, `text` as its help."""
    return field(default=default, metadata={"type": kind, "help": text, **argparse_options})


def options_of(cls) -> list:
    """The fields of a dataclass that are options."""
    return [item for item in fields(cls) if "type" in item.metadata]


def add_options(parser, cls, **defaults):
    """A flag --NAME for every option of a dataclass; `defaults`: of flags where it differs from the field's."""
    for item in options_of(cls):
        default = defaults.get(item.name, None if item.default is MISSING else item.default)
        parser.add_argument(f"--{item.name}", default=default, **item.metadata)


def given_options(cls, args) -> dict:
    """{name: value} of a dataclass's options, from parsed arguments."""
    return {item.name: getattr(args, item.name) for item in options_of(cls)}
