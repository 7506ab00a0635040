"""English captions of scenes in varied wording; complete ones for evaluation, and ones that leave a detail out for training."""

import numpy as np

from ldm.demo.scenes.scene import Background, Item, Scene, choice

OMITTED = 0.2  # how often an incomplete caption leaves out a size, the position, or the direction of a gradient

# The first wording is the plain one; every wording of a value says it fully
SHAPE_WORDS = {"circle": ("circle", "disc"), "cross": ("cross", "plus sign")}
SIZE_WORDS = {"small": ("small", "little"), "medium": ("medium-sized", "medium"), "large": ("large", "big")}
POSITION_WORDS = {
    "top left": ("in the top left", "in the top left corner", "in the upper left"),
    "top middle": ("at the top", "in the top centre"),
    "top right": ("in the top right", "in the top right corner", "in the upper right"),
    "middle left": ("on the left", "on the left side"),
    "middle middle": ("in the centre", "in the middle", "in the center"),
    "middle right": ("on the right", "on the right side"),
    "bottom left": ("in the bottom left", "in the bottom left corner", "in the lower left"),
    "bottom middle": ("at the bottom", "in the bottom centre"),
    "bottom right": ("in the bottom right", "in the bottom right corner", "in the lower right"),
}
RELATION_WORDS = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above",),
    "below": ("below", "under"),
}
# "B with A <words>" says that A is there as seen from B
BESIDE_WORDS = {"left of": "to its left", "right of": "to its right", "above": "above it", "below": "below it"}
ENDS = {"vertical": ("at the top", "at the bottom"), "horizontal": ("on the left", "on the right")}


def _word(rng, words: dict, value: str) -> str:
    return choice(rng, words.get(value, (value,)))


def _item(rng, item: Item, article: bool, with_size: bool) -> str:
    words = [_word(rng, SIZE_WORDS, item.size)] if with_size else []
    words += [item.colour, _word(rng, SHAPE_WORDS, item.shape)]
    if article:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    return " ".join(words)


def _background(rng, background: Background, with_direction: bool) -> str:
    """A noun phrase without article, such as "yellow background"."""
    names = background.colours
    if background.direction is None:
        return f"{names[0]} background"
    verb = choice(rng, ("background fading", "gradient background"))
    ends = [f" {end}" for end in ENDS[background.direction]] if with_direction else ["", ""]
    order = (0, 1) if not with_direction or rng.random() < 0.7 else (1, 0)  # without ends the order says the direction
    first, last = (names[index] + ends[index] for index in order)
    return f"{verb} from {first} to {last}"


def _subject(rng, scene: Scene, article: bool, kept) -> str:
    first = _item(rng, scene.items[0], article, kept())
    if len(scene.items) == 1:
        return f"{first} {_word(rng, POSITION_WORDS, scene.place)}" if kept() else first
    second = _item(rng, scene.items[1], article, kept())
    if rng.random() < 0.2:
        return f"{second} with {first} {BESIDE_WORDS[scene.place]}"
    return f"{first} {_word(rng, RELATION_WORDS, scene.place)} {second}"


def caption(scene: Scene, rng: np.random.Generator, complete: bool = True) -> str:
    """One caption. Colours, shapes, the relation and the background are always said; the rest always if `complete`."""

    def kept() -> bool:
        return complete or rng.random() >= OMITTED

    template = choice(rng, ("on a", "on a", "against a", ", ", ":"))
    article = template != ", " or rng.random() < 0.3  # "large green ring in the top left, white background"
    subject = _subject(rng, scene, article, kept)
    background = _background(rng, scene.background, kept())
    if template == ", ":
        return f"{subject}, {background}"
    an = "an" if background[0] in "aeiou" else "a"
    if template == ":":
        return f"on {an} {background}, {subject}"
    return f"{subject} {template.split()[0]} {an} {background}"
