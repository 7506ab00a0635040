"""The sheet holds every picture pixel for pixel, and its words leave them alone."""

import numpy as np

from ldm.common.sheets import MISSING, font_for, has_all, labelled_sheet


def picture(colour, side=128):
    return np.full((side, side, 3), colour, np.uint8)


def places(sheet, colour):
    """(top, left, bottom, right) of what has a colour, and how many pixels have it."""
    found = np.argwhere((sheet == colour).all(axis=2))
    return (*found.min(0), *(found.max(0) + 1)), len(found)


COLOURS = {("base", 0): (200, 0, 0), ("base", 1): (0, 200, 0), ("now", 0): (0, 0, 200), ("now", 1): (200, 0, 200)}


def sheet_of(rows=("a fox (seed 0)", "a boat (seed 1)"), side=128):
    columns = {name: [picture(COLOURS[name, row], side) for row in range(2)] for name in ("base", "now")}
    return np.asarray(labelled_sheet("Previews, step 5", columns, list(rows)))


def test_columns_and_rows_are_where_they_belong():
    sheet = sheet_of()
    boxes = {}
    for key, colour in COLOURS.items():
        box, count = places(sheet, colour)
        assert count == 128 * 128 and (box[2] - box[0], box[3] - box[1]) == (128, 128), key
        boxes[key] = box
    assert boxes["base", 0][0] == boxes["now", 0][0] < boxes["base", 1][0]
    assert boxes["base", 0][1] == boxes["base", 1][1] < boxes["now", 0][1]
    above, between = sheet[: boxes["base", 0][0]], sheet[boxes["base", 0][2] : boxes["base", 1][0]]
    assert (above < 128).any() and (between < 128).any()  # words


def test_tiny_pictures_are_enlarged_and_long_captions_cut():
    small, long = sheet_of(side=32), sheet_of(rows=("word " * 500, "x" * 3000))
    for key, colour in COLOURS.items():
        assert places(small, colour)[1] == places(long, colour)[1] == 128 * 128, key
    assert long.shape[1] == sheet_of().shape[1]


def test_a_picture_that_could_not_be_made_is_grey():
    sheet = np.asarray(labelled_sheet("t", {"base": [None], "now": [picture((200, 0, 0))]}, ["a fox"]))
    box, count = places(sheet, MISSING)
    assert (box[2] - box[0], box[3] - box[1]) == (128, 128) and count > 14000


def test_letters_that_are_not_ascii_are_drawn_or_said_to_be_missing():
    """No font draws the character U+FFFE; é and ж are in the font that Matplotlib brings along."""
    font = font_for("é ж", 14)
    assert has_all(font, "é ж") and not has_all(font, "a \ufffe")
    rows = [np.asarray(labelled_sheet("t", {"c": [picture((200, 0, 0))] * 1}, [row])) for row in ("\ufffe", "a\ufffe")]
    assert np.array_equal(*rows)  # both say that row 1 cannot be drawn, neither shows boxes
