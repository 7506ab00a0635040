"""Paths of tars as users write them: commas, globs and braces, and braces that stand for too many."""

import pytest

from ldm.data.sources import tar_paths
from ldm.data.sources.opening import open_source
from ldm.data.sources.tar_paths import expanded, find_tars, most_paths


def test_braces_commas_globs_and_their_mistakes(tar_folder):
    two = [f"{tar_folder}/s-000.tar", f"{tar_folder}/s-001.tar"]
    for text in (
        f"{tar_folder}/s-*.tar",
        f"{tar_folder}/s-{{000..001}}.tar",
        f"{tar_folder}/s-{{000,001}}.tar",
        ", ".join(two),
    ):
        assert find_tars(text) == two
    for text, error, message in [
        (f"{tar_folder}/s-{{000..002}}.tar", FileNotFoundError, "nothing matches .*s-002.tar"),
        (f"{tar_folder}/*.tar,{two[0]}", ValueError, "names a tar twice"),
        ("https://example.org/s-{000..001}.tar", ValueError, "only tars on this machine"),
        ("pipe:cat x.tar", ValueError, "only tars on this machine"),
        (f"{two[0]},{tar_folder}", ValueError, "is no .tar"),
    ]:
        with pytest.raises(error, match=message):
            find_tars(text)
    with pytest.raises(ValueError, match="has no images.*give --dataset_path '.*/\\*.tar'"):
        open_source(tar_folder)


@pytest.mark.parametrize(
    "text",
    ["x-{0..999999999}.tar", "{0..99}{0..99}{0..99}.tar", "{a,b}" * 30 + ".tar", "{" + "9" * 5000 + "..1}.tar", "x" * 5000 + ".tar",
     "{0.." + "9" * 25 + "}.tar", "{{0..9999},{a,{0..9999}}}{0..99}.tar", "{" * 2000 + "}" * 2000 + ",x{0..99999999}.tar"],
)  # fmt: skip
def test_braces_for_too_many_paths_are_refused_before_they_are_expanded(text):
    with pytest.raises(ValueError, match="more than 100000 paths|cannot be expanded") as error:
        find_tars(text)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["{1{2,3}.tar", "}.tar", "{.tar"])
def test_braces_that_are_not_closed(text):
    with pytest.raises(ValueError, match="--dataset_path .*: a brace is not closed, or not opened"):
        expanded(text)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "{000..012}",
        "{3..1}",
        "{a..e}",
        "{a,b}{1..3}",
        "{a,{1..3},b}",
        "{,x}",
        "{}",
        "{1..9..2}",
        "{a..Z}",
        "{x}{y}",
    ],
)
def test_the_bound_is_never_below_what_braces_stand_for(text):
    assert len(expanded(text)) <= most_paths(text) <= tar_paths.MOST
