"""Captions say the truth: read back by a parser that knows English words, not the templates."""

import re

import numpy as np
import pytest
from scene_samples import one, scenes_of_both_splits, two

from ldm.demo.scenes.captions import caption
from ldm.demo.scenes.palette import COLOURS
from ldm.demo.scenes.scene import Background, Item, Scene
from ldm.demo.scenes.shapes import OUTLINES

SIZE = {
    "small": "small",
    "little": "small",
    "medium-sized": "medium",
    "medium": "medium",
    "large": "large",
    "big": "large",
}
COLOUR = {colour: colour for colour in COLOURS}
SHAPE = {shape: shape for shape in OUTLINES} | {"disc": "circle", "plus sign": "cross"}
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


def alternatives(words) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


ITEM = re.compile(rf"(?:({alternatives(SIZE)}) )?({alternatives(COLOUR)}) ({alternatives(SHAPE)})\b")


def parse(text: str) -> tuple:
    """(items, place, background colours, direction) with None for what is not said."""
    items = [(SHAPE[shape], COLOUR[colour], SIZE.get(size)) for size, colour, shape in ITEM.findall(text)]
    rest = ITEM.sub("ITEM", text)

    # Background: two colours with or without ends, or the one colour before "background"
    ends = r"(?: (at the top|at the bottom|on the left|on the right))?"
    fade = re.search(rf"from (\w+){ends} to (\w+){ends}", rest)
    if fade:
        first, start, second, stop = fade.groups()
        if start and start.split()[-1] in ("bottom", "right"):
            first, second = second, first
        direction = start and ("vertical" if start.split()[-1] in ("top", "bottom") else "horizontal")
        assert {start, stop} in ({None}, {"at the top", "at the bottom"}, {"on the left", "on the right"})
        colours = (COLOUR[first], COLOUR[second])
        rest = rest.replace(fade.group(), "")
    else:
        colours, direction = (COLOUR[re.search(r"(\w+) background", rest).group(1)],), None

    # Place: what stands between two items, or the words about the only one
    if len(items) == 2:
        between = rest.replace("under", "below")
        word = re.search(r"left|right|above|below", between).group()
        if " with " in between:
            word = OPPOSITE[word]  # "B with A to its left": B is right of A
        return items, f"{word} of" if word in ("left", "right") else word, colours, direction
    words = re.findall(r"top|bottom|upper|lower|left|right|centre|center|middle", rest)
    words = [
        {"upper": "top", "lower": "bottom", "centre": "middle", "center": "middle"}.get(word, word) for word in words
    ]
    if not words:
        return items, None, colours, direction
    row = next((word for word in words if word in ("top", "bottom")), "middle")
    column = next((word for word in words if word in ("left", "right")), "middle")
    return items, f"{row} {column}", colours, direction


def truth(scene: Scene, parsed_items) -> tuple:
    """The scene in the order in which the caption names its objects."""
    items = [(item.shape, item.colour, item.size) for item in scene.items]
    place = scene.place
    if len(items) == 2 and [item[:2] for item in parsed_items] == [item[:2] for item in items[::-1]]:
        items = items[::-1]
        place = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}[place]
    return items, place, scene.background.colours, scene.background.direction


def test_complete_captions_say_everything():
    rng = np.random.default_rng(0)
    for scene in scenes_of_both_splits(3000):
        text = caption(scene, rng)
        parsed = parse(text)
        assert parsed == truth(scene, parsed[0]), text


def test_incomplete_captions_say_nothing_wrong_and_leave_out_a_fifth():
    rng = np.random.default_rng(0)
    said = {"size": [], "place": [], "direction": []}
    for scene in scenes_of_both_splits(3000):
        text = caption(scene, rng, complete=False)
        items, place, colours, direction = parse(text)
        true_items, true_place, true_colours, true_direction = truth(scene, items)
        assert [item[:2] for item in items] == [item[:2] for item in true_items] and colours == true_colours, text
        assert all(size in (None, true) for (*_, size), (*_, true) in zip(items, true_items)), text
        assert place in ((true_place,) if len(items) == 2 else (None, true_place)) and direction in (
            None,
            true_direction,
        ), text
        said["size"] += [item[2] is not None for item in items]
        if len(items) == 1:
            said["place"].append(place is not None)
        if true_direction:
            said["direction"].append(direction is not None)
    for name, values in said.items():
        assert 0.75 < np.mean(values) < 0.85, name


def test_wording_varies_and_articles_agree():
    rng = np.random.default_rng(0)
    scenes = scenes_of_both_splits(2000)
    texts = [caption(scene, rng) for scene in scenes]
    assert len({caption(scenes[0], rng) for _ in range(100)}) > 15
    for text in texts + [caption(scene, rng, complete=False) for scene in scenes]:
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  |None|^ | $", text), text
    assert any(re.search(r"\ban orange", text) for text in texts)
    assert any(not text.startswith(("a ", "an ", "on ")) for text in texts)  # without articles
    vocabulary = {word for text in texts for word in re.findall(r"[a-z-]+", text)}
    assert 55 <= len(vocabulary) <= 100
    assert max(len(text.split()) for text in texts) <= 35  # CLIP reads 77 tokens


def test_the_caption_follows_from_scene_and_generator():
    assert caption(two(), np.random.default_rng(4)) == caption(two(), np.random.default_rng(4))


@pytest.mark.parametrize(
    "scene, wordings",
    [
        (
            one("star", "red", "small", "top left", "white"),
            {
                "a small red star in the top left on a white background",
                "little red star in the upper left, white background",
            },
        ),
        (
            two(),
            {
                "a small red star to the left of a big blue square on a yellow background",
                "on a yellow background, a large blue square with a little red star to its left",
            },
        ),
        (
            Scene((Item("heart", "orange", "medium"),), "middle middle", Background(("black", "blue"), "vertical")),
            {
                "a medium-sized orange heart in the centre on a background fading from black at the top to blue at the bottom"
            },
        ),
    ],
)
def test_known_wordings_occur(scene, wordings):
    rng = np.random.default_rng(0)
    assert wordings <= {caption(scene, rng) for _ in range(4000)}
