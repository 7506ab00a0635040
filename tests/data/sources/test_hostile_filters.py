"""Filters that take for ever, and values of samples that no comparison holds for: refused in one line."""

import pytest
from hostile import ROW, jsonl, refused

from ldm.data.sources.filters import Filter
from ldm.data.sources.opening import open_source

SAMPLE = {
    "w": 640,
    "million": 10**6,
    "big": 10**4000,
    "nan": float("nan"),
    "inf": float("inf"),
    "text": "x" * 900_000,
    "none": None,
}


@pytest.mark.parametrize(
    "text, message",
    [
        ("*".join(["million"] * 90), "a number is too large"),
        ("big * big > 1", "a number is too large"),
        ("1e308 * 10 > w", "a number is too large"),
        ("nan > 1", r"'nan' is nan; 'has\(nan\) and ...' leaves such samples out"),
        ("value('inf') > 1", r"'inf' is inf; 'has\(inf\)"),
        ("text * 2 == text", "is no number"),
        ("-text", "is no number"),
        ("abs(w, w)", "exactly one argument"),
        ("missing", r"has no 'missing' \(it has w, million, big, nan"),
        ("9" * 400 + " * 9 > w", "a number is too large"),
    ],
)
def test_filters_do_not_take_for_ever_and_name_the_sample(text, message, at_once):
    keep = Filter(text)
    with pytest.raises(ValueError, match=message) as error:
        keep(SAMPLE)
    assert str(error.value).isprintable() and len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "text", ["+".join("w" * 500), "-" * 1900 + "w", "not " * 120 + "w", "w" * 10_000_000, "w\0", "'\ud800'"]
)
def test_filters_that_are_too_deep_or_no_text(text, at_once):
    with pytest.raises(ValueError, match="--data_filter") as error:
        Filter(text)
    assert len(str(error.value)) < 1000


def test_has_is_false_for_what_cannot_be_compared():
    assert not any(Filter(f"has({name})")(SAMPLE) for name in ("nan", "inf", "none", "missing")) and Filter("has(big)")(
        SAMPLE
    )


@pytest.mark.parametrize("number", ["NaN", "1e999", "-Infinity"])
def test_numbers_of_json_that_are_not_finite(two_images, number):
    jsonl(
        two_images,
        f'{{"file_name": "a.png", "text": "x", "score": {number}}}'.encode(),
        {**ROW, "file_name": "b.png", "score": 3},
    )
    refused(two_images, "a.png: 'score' is (nan|inf|-inf); 'has", data_filter="score > 1")
    assert len(open_source(two_images, data_filter="has(score) and score > 1")) == 1
