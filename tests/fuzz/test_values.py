"""Any JSON value, text and flag that hypothesis thinks of: the readers accept it or refuse it in words, nothing else.

Where one does not, the smallest such value is shown. The tries are the same in every run.
"""

import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ldm.common.json_files import parse_json, read_json
from ldm.data.captions import read_captions
from ldm.training.checkpoints.staging import problem_of
from ldm.training.tasks.prior import PriorDataArguments

REFUSALS = (ValueError, OSError)
ANY = settings(
    max_examples=200, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = st.none() | st.booleans() | st.integers() | st.floats()
VALUES = st.recursive(
    NUMBERS | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12
)


def refused_or(read, *named):
    """What `read()` gives; None where it refuses, with words that name `named`."""
    try:
        return read()
    except REFUSALS as error:
        assert str(error).strip() and all(name in str(error) for name in named), repr(error)
    return None


@ANY
@given(VALUES)
@example({"a": [float("nan")]})
@example([10**5000])
def test_any_value_in_a_json_file(tmp_path, value):
    try:
        text = json.dumps(value)
    except ValueError:  # 5,000 digits are no text
        text = "9" * 5000
    path = tmp_path / "file.json"
    path.write_text(text, encoding="utf-8")
    found = refused_or(lambda: read_json(path), "file.json")
    assert found is None or isinstance(found, dict)


@ANY
@given(st.text() | st.sampled_from(["[" * 100_000, "1e999", "NaN", "{}", '{"a": 1}x']))
def test_any_text_as_json(text):
    refused_or(lambda: parse_json(text, "the note"), "the note")


@ANY
@given(st.binary())
@example(b"\xff")
@example(b"\r\r")
def test_any_bytes_as_a_caption_file(tmp_path, content):
    path = tmp_path / "captions.txt"
    path.write_bytes(content)
    lines = refused_or(lambda: read_captions([str(path)]), "captions.txt")
    assert lines is None or (lines and all(line.strip() for line in lines))


@ANY
@given(VALUES)
@example([])
@example({"bytes": []})
@example({"bytes": {"../x": 1}, "sha256": {}})
@example({"bytes": {"x": True}, "sha256": 1})
def test_any_value_as_a_checkpoints_list(tmp_path, value):
    """The list of a checkpoint is of a stranger's making: what is wrong with it is said, nothing is raised."""
    (tmp_path / "complete.json").write_text(json.dumps(value))
    for contents in (False, True):
        problem = problem_of(tmp_path, contents)
        assert problem, value  # the folder has no other file


@ANY
@given(st.integers() | st.sampled_from([0, -1, 96, 10**23, 2**31, 3_200_000]))
def test_any_resolution(resolution):
    data = refused_or(lambda: PriorDataArguments(resolution=resolution), "resolution")
    assert data is None or (0 < data.resolution <= 65536 and data.resolution % 32 == 0)


@pytest.mark.parametrize(
    "flag", ["--learning_rate", "--weight_decay", "--max_grad_norm", "--adam_epsilon", "--warmup_ratio"]
)
@settings(parent=ANY, max_examples=40)
@given(st.floats().map(repr) | st.text(max_size=20) | st.sampled_from(["nan", "-inf", "1e999", "", "--", "0x10", "١"]))
def test_any_text_as_a_numeric_flag(flag, text):
    import math

    from ldm.training.flags.arguments import parse_into
    from ldm.training.tasks import prior

    parsed = refused_or(
        lambda: parse_into(prior.GROUPS, ["--do_train", "--output_dir", "out", f"{flag}={text}"]), flag[2:]
    )
    assert parsed is None or math.isfinite(getattr(parsed[-1], flag[2:]))
