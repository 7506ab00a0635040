"""The command lines of all programs: exact flags, sensible numbers, mistakes in one line."""

import argparse

import pytest
from programs import ABSURD, NAMES, parser_of

from ldm.common.cli import numbers
from ldm.common.cli.flags import Parser, wants_traceback

every_program = pytest.mark.parametrize("name", NAMES)


def refusal(parser, argv) -> str:
    with pytest.raises(ValueError) as refused:
        parser.parse_args(argv)
    return str(refused.value)


def required(parser) -> list:
    """Arguments that the parser asks for, each with a value that suits it."""
    flags = [action for action in parser._actions if action.required and action.option_strings]
    positional = [action for action in parser._actions if action.required and not action.option_strings]
    value = {
        action.dest: str(action.type.range.low) if isinstance(action.type, numbers.Number) else "x"
        for action in parser._actions
    }
    return [value[a.dest] for a in positional] + [text for a in flags for text in (a.option_strings[0], value[a.dest])]


@every_program
def test_every_number_has_a_range(name):
    parser = parser_of(name)
    for action in parser._actions:
        assert action.type not in (int, float), f"{name} {action.dest}: a type of ldm.common.cli.numbers, please"
        if isinstance(action.type, numbers.Number):
            for text in ABSURD:
                said = refusal(parser, [*required(parser), f"{action.option_strings[0]}={text}"])
                assert said.startswith(action.option_strings[0]) and "must be a" in said and len(said) < 200


@every_program
def test_defaults_are_within_the_ranges(name):
    for action in parser_of(name)._actions:
        if isinstance(action.type, numbers.Number) and action.default is not None:
            for value in action.default if isinstance(action.default, list) else [action.default]:
                assert action.type(str(value)) == value


@every_program
def test_flags_are_exact_and_debug_is_one(name):
    parser = parser_of(name)
    assert isinstance(parser, Parser) and not parser.allow_abbrev
    assert "--debug" in parser.format_help()
    assert "Unknown flag --debu. Do you mean --debug?" in refusal(parser, ["--debu"])


@pytest.mark.parametrize(
    "argv, text",
    [
        (["--prompt", "a fox"], "Unknown flag --prompt. Do you mean --caption?"),
        (["--guidance-scale", "4"], "Unknown flag --guidance-scale. Do you mean --cfg?"),
        (["--caption", "x", "--cgf", "4"], "Unknown flag --cgf. Do you mean --cfg?"),
        (["--caption", "x", "--cfg", "nan"], "--cfg nan: must be a number from -1000.0 to 1000.0"),
        (["--caption", "x", "--steps", "1000000000"], "--steps 1000000000: must be a whole number from 1 to 10000"),
        (["--caption", "x", "--seed", "9" * 23], f"--seed {'9' * 23}: must be a whole number from 0 to"),
        (["--caption", "x", "--seed", "9" * 5000], f"--seed {'9' * 40}...: must be"),
        (["--caption", "x", "--lora", "y", "--lora_scale", "1", "inf"], "--lora_scale inf: must be a number"),
        (["--caption", "x", "--dtype", "half"], "--dtype: invalid choice: 'half'"),
        (["--caption"], "--caption: expected at least one argument"),
        ([], "--caption: required, but not given"),
        (["--caption", "x", "-q"], "Unknown flag -q."),
        (["--caption", "x", "--debug", " "], "' ' belongs to no flag"),
        (["--caption", "x", "--low_memory", ""], "'' belongs to no flag"),
        (["--caption", "x", "--debug", "True", "nan"], "'True' 'nan' belongs to no flag"),
    ],
)
def test_mistakes_in_inference(argv, text):
    said = refusal(parser_of("inference"), argv)
    assert said.startswith(text) and said.endswith(("--help lists all.", "--help lists all flags."))
    assert "\n" not in said


@pytest.mark.parametrize("value", ["", " ", "\n"])
@every_program
def test_nothing_is_no_value(name, value):
    """As a shell's variable that is not set; a flag that asks for one of a few words says which."""
    parser = parser_of(name)
    for action in parser._actions:
        if action.option_strings and action.nargs != 0 and action.default != value:
            said = refusal(parser, [*required(parser), action.option_strings[0], value])
            assert said.startswith(action.option_strings[0])


def test_what_begins_with_dashes_may_be_a_value():
    parser = Parser()
    parser.add_argument("words", nargs="*")
    assert parser.parse_args(["--", "--word"]).words == ["--word"]
    parser.add_argument("--word")
    assert parser.parse_args(["--word=--other"]).word == "--other"


@pytest.mark.parametrize(
    "argv, shown",
    [
        ([], False),
        (["--debug"], True),
        (["--debug", "--seed"], True),
        (["--debug", "True"], True),
        (["--debug", "false"], False),
        (["--debug=True"], True),
        (["--debug=0"], False),
        (["--debugging"], False),
    ],
)
def test_debug_is_seen_before_anything_is_parsed(argv, shown):
    assert wants_traceback(argv) is shown


def test_numbers_at_the_ends_of_their_range():
    two_to_four = numbers.Number(int, 2, 4)
    assert [two_to_four(text) for text in ("2", " 3 ", "4")] == [2, 3, 4]
    for text in ("1", "5", "3.0", "3e0"):
        with pytest.raises(argparse.ArgumentTypeError, match="must be a whole number from 2 to 4"):
            two_to_four(text)
    assert numbers.share("1e-3") == 0.001 and numbers.seed(str(2**62)) == 2**62
