"""Captions that are wrong by a word, for CLIP pairs: contrast alone teaches only what tells the batch's images apart.

NegCLIP (Yuksekgonul et al., https://arxiv.org/abs/2210.01936) swaps words within captions; here words of a group, which
a file names, are swapped or replaced.
"""

import json
import re
from pathlib import Path

import numpy as np


class HardNegatives:
    """groups: lists of values, a value being the list of its wordings: [[["left"], ["right"]], [["circle", "disc"], ...]].

    What is said of an image in another wording stays right, hence values. A wording may be several words.
    """

    def __init__(self, groups: list):
        self.groups = groups
        self.places = {
            wording: (g, v) for g, group in enumerate(groups) for v, value in enumerate(group) for wording in value
        }
        longest_first = sorted(self.places, key=len, reverse=True)
        self.pattern = re.compile(rf"\b({'|'.join(map(re.escape, longest_first))})\b")

    @classmethod
    def from_file(cls, path):
        """ValueError for a file that is not JSON of this form."""
        path = Path(path)
        try:
            groups = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is not valid JSON ({error}).") from error
        if not _well_formed(groups):
            raise ValueError(
                f"{path} must be a list of groups of two values or more, each value a list of wordings, none of them twice: "
                '[[["left"], ["right"]], [["circle", "disc"], ["square"]]].'
            )
        return cls(groups)

    def make(self, caption: str, count: int, rng: np.random.Generator) -> list[str]:
        """`count` wrong captions; ValueError if no word of the caption is in a group."""
        found = list(self.pattern.finditer(caption))
        if not found:
            raise ValueError(
                f"No word of the caption {caption!r} is in a group of --negative_words: add one, or leave it out."
            )
        return [self._wrong(caption, found, rng) for _ in range(count)]

    def _wrong(self, caption: str, found: list, rng) -> str:
        groups = sorted({self.places[match[0]][0] for match in found})
        group = groups[rng.integers(len(groups))]  # each kind of mistake is as frequent as the others
        inside = [match for match in found if self.places[match[0]][0] == group]
        match = inside[rng.integers(len(inside))]
        value = self.places[match[0]][1]
        others = [other for other in inside if self.places[other[0]][1] != value]
        if others and rng.random() < 0.5:
            other = others[rng.integers(len(others))]
            return _replaced(caption, {match.span(): other[0], other.span(): match[0]})
        values = [wordings for index, wordings in enumerate(self.groups[group]) if index != value]
        wordings = values[rng.integers(len(values))]
        return _replaced(caption, {match.span(): wordings[rng.integers(len(wordings))]})


def _well_formed(groups) -> bool:
    if not (
        isinstance(groups, list) and groups and all(isinstance(group, list) and len(group) > 1 for group in groups)
    ):
        return False
    values = [value for group in groups for value in group]
    if not all(isinstance(value, list) and value for value in values):
        return False
    wordings = [wording for value in values for wording in value]
    return all(isinstance(wording, str) and wording for wording in wordings) and len(set(wordings)) == len(wordings)


def _replaced(text: str, changes: dict) -> str:
    """text with the spans (start, end) replaced, from the last on."""
    for (start, end), new in sorted(changes.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return text
