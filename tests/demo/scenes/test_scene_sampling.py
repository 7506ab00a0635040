"""The two splits: what training never shows, what it shows often, and that objects can be seen."""

from collections import Counter
from itertools import product

import numpy as np
import pytest
from scene_samples import one, scenes, two

from ldm.demo.scenes.palette import COLOURS, distance, nearest
from ldm.demo.scenes.sampling import (
    MIN_CONTRAST,
    combinations,
    contrast,
    held_out,
    in_black_and_red,
    is_held_out,
    on_white,
    sample_scene,
)
from ldm.demo.scenes.scene import POSITIONS, RELATIONS, SIZES, Background, Item, Scene
from ldm.demo.scenes.shapes import SHAPES

HELD_OUT_ITEMS = {
    ("red", "ring"),
    ("orange", "circle"),
    ("cyan", "triangle"),
    ("blue", "star"),
    ("purple", "triangle"),
    ("pink", "cross"),
    ("black", "cross"),
    ("white", "square"),
}


@pytest.fixture(scope="module")
def train():
    return scenes(3000, "train")


@pytest.fixture(scope="module")
def test():
    return scenes(3000, "test")


def test_the_splits_share_no_held_out_combination(train, test):
    shown = set().union(*map(combinations, train))
    for scene in test:
        assert combinations(scene) - shown, f"{scene} is made of nothing new"
        assert held_out(scene) and not held_out(scene) & shown
    assert not any(held_out(scene) for scene in train)


def test_the_held_out_items_never_change():
    """Folders written earlier stay comparable: these words are part of the format."""
    items = {(colour, shape) for colour in COLOURS for shape in SHAPES if is_held_out("item", colour, shape)}
    assert items == HELD_OUT_ITEMS


def test_about_a_tenth_of_every_kind_is_held_out(test):
    relations = [
        is_held_out("relation", a, relation, b) for a in SHAPES for relation in ("left of", "above") for b in SHAPES
    ]
    backgrounds = [is_held_out("background", a, "flat", b) for a in COLOURS for b in COLOURS]
    assert 0.06 < np.mean(relations) < 0.14 and 0.06 < np.mean(backgrounds) < 0.14
    kinds = Counter(combination[0] for scene in test for combination in held_out(scene))
    assert min(kinds[kind] for kind in ("item", "background", "relation")) > 200


def test_training_shows_every_value_often(train):
    items = [item for scene in train for item in scene.items]
    for name, values in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES)):
        counts = Counter(getattr(item, name) for item in items)
        assert all(counts[value] > len(items) / len(values) / 2 for value in values), counts
    backgrounds = Counter(colour for scene in train for colour in scene.background.colours)
    assert all(backgrounds[colour] > 100 for colour in COLOURS), backgrounds
    places = Counter(scene.place for scene in train)
    assert all(places[place] > 100 for place in (*POSITIONS, *RELATIONS)), places
    assert 0.45 < np.mean([len(scene.items) == 2 for scene in train]) < 0.55


def test_the_same_picture_in_other_words_is_the_same_combination():
    scene, mirrored = (
        two("left of"),
        two("right of", first=("square", "blue", "large"), second=("star", "red", "small")),
    )
    assert combinations(scene) == combinations(mirrored)
    assert combinations(scene) != combinations(two("right of"))
    assert combinations(two("above")) != combinations(scene)


def test_objects_contrast_with_their_background_and_differ(train, test):
    for scene in train + test:
        assert all(contrast(item.colour, scene.background) >= MIN_CONTRAST for item in scene.items)
        assert len({(item.shape, item.colour) for item in scene.items}) == len(scene.items)


def test_contrast_looks_at_the_whole_gradient():
    assert (
        contrast("orange", Background(("red",))) > MIN_CONTRAST
        and contrast("orange", Background(("yellow",))) > MIN_CONTRAST
    )
    assert contrast("orange", Background(("red", "yellow"), "vertical")) < 11
    assert contrast("red", Background(("red",))) < 1e-3


def test_the_palette_is_clearly_separated():
    assert min(distance(first, second) for first in COLOURS for second in COLOURS if first != second) > MIN_CONTRAST
    for name, rgb in COLOURS.items():
        assert all(nearest(np.clip(np.add(rgb, shift), 0, 255)) == name for shift in product((-12, 12), repeat=3))
    assert distance("white", "black") == pytest.approx(96, abs=2)  # of 100 between pure ones: a check of L*


def test_sampling_is_deterministic():
    assert scenes(50, "train", 7) == scenes(50, "train", 7) != scenes(50, "train", 8)


@pytest.mark.parametrize("split", ["train", "test", "concept"])
def test_plain_scenes_are_on_white_and_half_of_them_without_other_colours(split):
    rng = np.random.default_rng(3)
    drawn = [sample_scene(rng, split, 0.5) for _ in range(400)]
    plain = [scene for scene in drawn if scene == on_white(scene)]
    colourless = [scene for scene in plain if scene == in_black_and_red(scene)]
    assert 150 < len(plain) < 270 and 70 < len(colourless) < 140
    assert all(contrast(item.colour, scene.background) >= MIN_CONTRAST for scene in drawn for item in scene.items)
    if split == "concept":
        return
    assert all(bool(held_out(scene)) == (split == "test") for scene in drawn)
    if split == "train":
        assert {scene.place for scene in plain} == {*POSITIONS, *RELATIONS}
        assert len({item.colour for scene in plain for item in scene.items}) > 6


def test_no_share_of_plain_scenes_draws_what_was_drawn_before_there_were_any():
    first, second = (np.random.default_rng(4) for _ in range(2))
    assert [sample_scene(first, "train") for _ in range(20)] == [sample_scene(second, "train", 0.0) for _ in range(20)]


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: sample_scene(np.random.default_rng(0), "validation"), "validation.*train, test"),
        (lambda: sample_scene(np.random.default_rng(0), "train", 1.5), "plain_share 1.5"),
        (lambda: Item("blob", "red", "small"), "shape 'blob'"),
        (lambda: one(place="left of"), "place 'left of'"),
        (lambda: two(place="top left"), "place 'top left'"),
        (lambda: Background(("red", "blue")), "two with a direction"),
        (lambda: Background(("red", "blue"), "radial"), "direction 'radial'"),
        (lambda: Scene((), "top left", Background(("red",))), "not 0"),
    ],
)
def test_wrong_words_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
