"""Every flag of PaddleNLP's TrainingArguments is honoured, harmless or refused; a new one in none of the lists fails here."""

from dataclasses import MISSING, fields
from typing import get_args, get_type_hints

import pytest
from paddlenlp.trainer import TrainingArguments

from ldm.training.flags.arguments import parse_into
from ldm.training.flags.inherited import HARMLESS, HONOURED, RANGES, REFUSED, REFUSED_TOGETHER
from ldm.training.flags.values import is_number
from ldm.training.tasks import prior

BASE = ["--output_dir", "out", "--do_train"]
FIELDS = {item.name: item for item in fields(TrainingArguments)}
HINTS = get_type_hints(TrainingArguments)


def other_value(name: str) -> str:
    """A value that is not the flag's default, as text."""
    default, kinds = FIELDS[name].default, {HINTS[name], *get_args(HINTS[name])}
    if bool in kinds:
        return str(default is not True)
    if kinds & {int, float}:
        return str((default or 0) + 3)
    return {"evaluation_strategy": "steps"}.get(name, "3")  # a number, for what is a list of them


def test_each_flag_is_in_one_of_the_lists():
    listed = [*HONOURED, *HARMLESS, *(name for names in REFUSED_TOGETHER.values() for name in names.split())]
    assert sorted(listed) == sorted(FIELDS), "say of each flag in ldm/training/flags/inherited.py what becomes of it"


def test_each_number_that_is_honoured_has_a_range_that_holds_its_default():
    numbers = {name for name in FIELDS if is_number(HINTS[name]) and name not in REFUSED}
    assert set(RANGES) == numbers
    for name, allowed in RANGES.items():
        assert FIELDS[name].default in (None, MISSING) or FIELDS[name].default in allowed, name


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_flag_is_one_error_that_says_what_to_do(name):
    with pytest.raises(ValueError) as caught:
        parse_into(prior.GROUPS, [*BASE, f"--{name}", other_value(name)])
    message = str(caught.value)
    assert message.startswith(f"--{name} ") and message.endswith(f"{REFUSED[name]}.") and "\n" not in message
    assert len(REFUSED[name]) > 20


@pytest.mark.parametrize("name", [name for name in REFUSED if FIELDS[name].default not in (None, "", MISSING)])
def test_a_refused_flag_may_say_what_is_the_default(name):
    parse_into(prior.GROUPS, [*BASE, f"--{name}", str(FIELDS[name].default)])


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_flag_is_accepted_and_says_why(name):
    parse_into(prior.GROUPS, [*BASE, f"--{name}", other_value(name)])
    assert len(HARMLESS[name]) > 20
