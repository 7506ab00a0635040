"""The table of versions: what counts as working, how it is written, and that the documents tell of what is pinned."""

import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from ldm.common.runtime import FIRST, LAST
from versions.__main__ import DOCUMENTS, works
from versions.environments import OLDER, Environment, all_environments, find_pythons, pinned
from versions.journey import Results, difference
from versions.table import END, HEADS, START, WORDS, row, table, write_into


def results(**changes):
    values = dict(name="x", versions={"python": "3.11.7", "paddlepaddle": "3.0.0"}, parity=(63, 63), losses=[0.5, 0.25],
                  picture=(1, 0.0001), tuned=True, compiled=(0, 0.0), seconds={"parity": 2.0, "picture": 3.0})  # fmt: skip
    return Results(**{**values, **changes})


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, True),
        ({"parity": (62, 63)}, False),
        ({"parity": ()}, False),
        ({"problems": {"picture": "ended"}}, False),
        ({"refused": {"compiled picture": "no"}}, False),
        ({"stray": ["W1128"]}, False),
    ],
)
def test_what_works(changes, expected):
    assert works(results(**changes)) is expected


def test_rows():
    assert row(results(), "en", first=False) == [
        "3.11.7", "3.0.0", "63 / 63", "within 1 of 255, 0.010% of values", "0.250000", "works", "same bytes", "none", "5",
    ]  # fmt: skip
    assert "it is the pinned one" in row(results(), "en", first=True)
    assert row(results(compiled=(), refused={"compiled picture": "no"}), "en", False)[6] == "refused"
    assert row(results(losses=[], problems={"training": "no"}), "en", False)[4] == "failed"


def test_the_table_is_put_between_its_marks(tmp_path):
    path = tmp_path / "versions.md"
    path.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    write_into(path, table([results()], "zh"))
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "63 / 63" in text
    path.write_text("nothing")
    with pytest.raises(ValueError, match="to write between"):
        write_into(path, "x")


def test_languages_have_the_same_columns_and_words():
    assert len(HEADS["en"]) == len(HEADS["zh"]) == len(row(results(), "zh", False))
    assert WORDS["en"].keys() == WORDS["zh"].keys()


@pytest.mark.parametrize("language", DOCUMENTS)
def test_the_documents_have_a_row_for_every_environment(language, tmp_path):
    text = DOCUMENTS[language].read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| 3.")]
    shown = [(cells[1], cells[0].rpartition(".")[0]) for cells in rows]
    assert shown == [(each.paddle, each.python) for each in all_environments(tmp_path)]
    assert all(cells[2] == "63 / 63" and cells[7] == WORDS[language]["none"] for cells in rows)


def test_the_programs_know_the_same_range():
    versions = sorted(tuple(map(int, version.split(".")[:2])) for version in (*OLDER, pinned()))
    assert (versions[0], versions[-1]) == (FIRST, LAST)


def test_requirements_differ_by_the_pin_alone(tmp_path):
    given = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    assert Environment(pinned(), "3.11", tmp_path).requirements() == given
    changed = Environment("3.0.0", "3.11", tmp_path).requirements()
    assert changed == given.replace(f"paddlepaddle=={pinned()}", "paddlepaddle==3.0.0") != given


def test_interpreters_are_asked_what_they_are():
    own = "%d.%d" % sys.version_info[:2]
    assert find_pythons(["no-such-python", "false", sys.executable]) == {own: sys.executable}


def test_difference_of_pictures(tmp_path):
    pixels = np.zeros((2, 2, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    pixels[0, 0, 0] = 250
    Image.fromarray(pixels).save(tmp_path / "b.png")
    assert difference(tmp_path / "a.png", tmp_path / "b.png") == (250, pytest.approx(1 / 12))
