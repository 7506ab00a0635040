"""Every number and text of every trainer's command line: what is outside its range is one error that names the flag."""

from dataclasses import dataclass, fields
from math import inf, nan
from typing import get_type_hints

import pytest

from ldm.common.cli.numbers import Range
from ldm.training.flags.arguments import CascadeTrainingArguments, parse_into
from ldm.training.flags.inherited import HARMLESS, RANGES, REFUSED
from ldm.training.flags.values import check_values, is_number, number, ranges_of
from ldm.training.tasks import clip, decoder, previewer, prior, stage_a

BASE = ["--output_dir", "out", "--do_train"]
GROUPS = {group: module.GROUPS for module in (prior, decoder, clip, stage_a, previewer) for group in module.GROUPS}
GROUPS[CascadeTrainingArguments] = prior.GROUPS
FLAGS = [(group, item) for group in GROUPS for item in fields(group) if item.name not in (*REFUSED, *HARMLESS)]
NUMBERS = [(group, item.name) for group, item in FLAGS if is_number(get_type_hints(group)[item.name])]
TEXTS = [(group, item) for group, item in FLAGS if "str" in str(get_type_hints(group)[item.name])]


def refusal(group, name: str, value) -> str:
    """What is said of a value of a flag."""
    with pytest.raises(ValueError) as caught:
        parse_into(GROUPS[group], [*BASE, f"--{name}={value}"])
    return str(caught.value)


@pytest.mark.parametrize("group, name", NUMBERS, ids=lambda value: getattr(value, "__name__", value))
def test_a_number_outside_the_range_is_refused(group, name):
    allowed = ranges_of(group, RANGES)[name]
    tried = [nan, inf, -inf, 10**23, -(10**23), -1, -2, allowed.low - 1, allowed.high * 2 + 1]
    for value in tried:
        if value not in allowed:
            message = refusal(group, name, value)
            assert message.startswith(f"--{name}") and "\n" not in message and len(message) < 200, message


def test_there_are_many_numbers_and_all_have_ranges():
    assert len(NUMBERS) > 50
    assert all(isinstance(ranges_of(group, RANGES)[name], Range) for group, name in NUMBERS)


def test_a_flag_without_a_range_is_a_mistake_of_ours():
    @dataclass
    class Arguments:
        strength: float = 1.0

    with pytest.raises(KeyError, match="strength"):
        check_values(Arguments())


@pytest.mark.parametrize("group, item", TEXTS, ids=lambda value: getattr(value, "name", None) or value.__name__)
def test_an_empty_text_is_refused_where_it_would_mean_nothing(group, item):
    if item.default == "":
        parse_into(GROUPS[group], [*BASE, f"--{item.name}="])
    elif item.metadata.get("may_be_empty"):  # the captions of logged pictures: one may be the empty one
        parse_into(GROUPS[group], [*BASE, f"--{item.name}=", "--image_logging_steps=1"])
    else:
        assert item.name in refusal(group, item.name, "") and item.name in refusal(group, item.name, " ")


def test_which_numbers_a_range_holds():
    closed, opened = Range(0, 1), Range(0, 1, above=True, also=(-1,))
    assert all(value in closed for value in (0, 0.5, 1)) and not any(value in closed for value in (-0.1, 1.1, nan, inf))
    assert all(value in opened for value in (1e-9, 1, -1)) and not any(
        value in opened for value in (0, -0.5, nan, -inf)
    )
    assert str(closed) == "at least 0 and at most 1" and str(opened) == "above 0 and at most 1, or -1"
    assert str(Range(1, 10**6)) == "at least 1 and at most 1,000,000"


def test_the_message_is_short_and_names_flag_value_and_range():
    @dataclass
    class Arguments:
        strength: float = number(1.0, Range(0, 2), "how strong")

    with pytest.raises(
        ValueError, match=r"^--strength must be at least 0 and at most 2, got 1000\d+\.\.\. \(101 characters\)\.$"
    ):
        check_values(Arguments(10**100))
    with pytest.raises(ValueError, match="^--strength must be at least 0 and at most 2, got True.$"):
        check_values(Arguments(True))
