"""Random scenes of three splits: training never shows certain combinations, every test scene holds at least one of them,
and "concept" shows a shape that neither of them has."""

import hashlib
from dataclasses import replace
from functools import lru_cache

import numpy as np

from ldm.demo.scenes.palette import COLOURS, LAB, distance, to_lab
from ldm.demo.scenes.render import background_colours
from ldm.demo.scenes.scene import DIRECTIONS, POSITIONS, RELATIONS, SIZES, Background, Item, Scene, choice
from ldm.demo.scenes.shapes import NEW_SHAPES, SHAPES

SPLITS = ("train", "test", "concept")
HELD_OUT_ONE_IN = 10  # of the combinations of each kind
# Of the hash: one of those that take one combination from any colour, two from any shape at most, and none of plain scenes'
# backgrounds
SALT = "149055"
MIN_CONTRAST = 40.0  # L*a*b* distance of an object to every colour of its background
MIN_FADE = 60.0  # L*a*b* distance of a gradient's two colours
FLAT_SHARE = 0.6  # of the backgrounds
PLAIN_COLOURS, PLAIN_BACKGROUND = ("black", "red"), "white"


@lru_cache(maxsize=None)
def is_held_out(*combination: str) -> bool:
    """Whether a combination is kept from training: a fixed hash of its words, the same on every machine."""
    digest = hashlib.sha256(" ".join((SALT, *combination)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % HELD_OUT_ONE_IN == 0


def combinations(scene: Scene) -> set[tuple]:
    """Everything of a scene that may be held out: (shape, colour), (colour, background), (shape, relation, shape).

    "A right of B" is the same combination as "B left of A", since it is the same picture.
    """
    direction, colours = scene.background.direction or "flat", scene.background.colours
    found = {("item", item.colour, item.shape) for item in scene.items}
    found |= {("background", item.colour, direction, *colours) for item in scene.items}
    if len(scene.items) == 2:
        first, second = (item.shape for item in scene.items)
        relation = scene.place
        if relation in ("right of", "below"):
            first, relation, second = second, RELATIONS[relation], first
        found.add(("relation", first, relation, second))
    return found


def held_out(scene: Scene) -> set[tuple]:
    """The combinations of a scene that training never shows; empty for a training scene."""
    return {combination for combination in combinations(scene) if is_held_out(*combination)}


@lru_cache(maxsize=None)
def contrast(colour: str, background: Background) -> float:
    """The least seen difference of a colour to any colour of the background."""
    return float(np.linalg.norm(to_lab(background_colours(background, 33)) - LAB[colour], axis=1).min())


def _draw_item(rng, shapes) -> Item:
    return Item(choice(rng, shapes), choice(rng, tuple(COLOURS)), choice(rng, tuple(SIZES)))


def _draw_background(rng) -> Background:
    while True:
        first, second = (choice(rng, tuple(COLOURS)) for _ in range(2))
        if rng.random() < FLAT_SHARE:
            return Background((first,))
        if distance(first, second) >= MIN_FADE:
            return Background((first, second), choice(rng, DIRECTIONS))


def _draw_scene(rng, count: int, shapes=SHAPES) -> Scene:
    while True:
        items = tuple(_draw_item(rng, shapes) for _ in range(count))
        background = _draw_background(rng)
        looks = {
            (item.shape, item.colour) for item in items
        }  # two objects differ in one of these: else "left of" says little
        if len(looks) == count and all(contrast(item.colour, background) >= MIN_CONTRAST for item in items):
            place = choice(rng, POSITIONS if count == 1 else tuple(RELATIONS))
            return Scene(items, place, background, int(rng.integers(2**31)))


def on_white(scene: Scene) -> Scene:
    return replace(scene, background=Background((PLAIN_BACKGROUND,)))


def in_black_and_red(scene: Scene) -> Scene:
    """The first object black, the second red."""
    return replace(scene, items=tuple(replace(item, colour=c) for item, c in zip(scene.items, PLAIN_COLOURS)))


def sample_scene(rng: np.random.Generator, split: str, plain_share: float = 0.0) -> Scene:
    """A random scene of a split: half of them with two objects, those of "concept" with one.

    plain_share: how many of them are on white, every other one in black and red. Where all colours vary, they alone tell
    pictures apart, and a place changes no pixel the same way twice; here it does, and is learned ten times as fast.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown: one of {', '.join(SPLITS)}.")
    if not 0 <= plain_share <= 1:
        raise ValueError(f"plain_share {plain_share} is out of range: 0 to 1.")
    draw = rng.random() / plain_share if plain_share else 1
    count = 1 if split == "concept" else int(rng.integers(1, 3))
    while True:
        scene = _draw_scene(rng, count, NEW_SHAPES if split == "concept" else SHAPES)
        if draw < 1:
            scene = on_white(in_black_and_red(scene) if draw < 0.5 else scene)
        visible = all(contrast(item.colour, scene.background) >= MIN_CONTRAST for item in scene.items)
        if visible and (split == "concept" or bool(held_out(scene)) == (split == "test")):
            return scene
