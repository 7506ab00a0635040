"""Captions wrong by one pair of words, everywhere in them: "left" where it says "right" and the other way round."""

import re

SWAPS = (
    ("red", "green"),
    ("small", "large"),
    ("star", "circle"),
    ("heart", "square"),
    ("left", "right"),
    ("top", "bottom"),
    ("above", "below"),
)


def swapped(caption: str, pair: tuple) -> str:
    """The caption with the two words exchanged; the caption itself where it has neither of them."""
    first, second = pair
    return re.sub(rf"\b({first}|{second})\b", lambda match: second if match[0] == first else first, caption)


def changed_captions(captions, pair: tuple) -> tuple[list, list]:
    """Indices of the captions that a swap changes, and what it makes of them."""
    wrong = [swapped(caption, pair) for caption in captions]
    indices = [index for index, caption in enumerate(captions) if wrong[index] != caption]
    return indices, [wrong[index] for index in indices]
