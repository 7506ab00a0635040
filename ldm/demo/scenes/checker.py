"""The judge: which attributes of a scene a picture shows, and tables of that beside what chance would give."""

from dataclasses import astuple, dataclass, fields
from itertools import permutations

from ldm.demo.scenes.reading import Reading, read, relation
from ldm.demo.scenes.scene import Scene

CHANCE_SHIFTS = 20  # other scenes each picture is compared with for the level of chance


@dataclass(frozen=True)
class Verdict:
    """What is right. With two objects an attribute is right if it is right for both."""

    count: bool
    background: bool
    colour: bool
    shape: bool
    size: bool
    place: bool  # position of one object, relation of two

    @property
    def all(self) -> bool:
        return all(astuple(self))


PAIRED_BY = ("colour", "shape", "size")
ATTRIBUTES = tuple(field.name for field in fields(Verdict)) + ("all",)


def judge(reading: Reading, scene: Scene) -> Verdict:
    """Compare what was read with what was asked for.

    Objects are paired with the asked ones so that most of their colours, shapes and sizes agree; surplus small ones only
    make the count wrong. An object that is missing makes every attribute of the objects wrong.
    """
    count, background = len(reading.sightings) == len(scene.items), reading.background == scene.background
    seen = reading.sightings[: len(scene.items)]
    if len(seen) < len(scene.items):
        return Verdict(count, background, False, False, False, False)

    def matches(order) -> list:
        return [
            [getattr(one, name) == getattr(item, name) for one, item in zip(order, scene.items)] for name in PAIRED_BY
        ]

    order = max(permutations(seen), key=lambda order: sum(map(sum, matches(order))))
    colour, shape, size = (all(row) for row in matches(order))
    place = (order[0].position if len(order) == 1 else relation(*order)) == scene.place
    return Verdict(count, background, colour, shape, size, place)


def check(image, scene: Scene) -> Verdict:
    """Which attributes of `scene` an image (uint8 (H, W, 3)) shows."""
    return judge(read(image), scene)


@dataclass(frozen=True)
class Score:
    """One line of the table: how many of `total` pictures have an attribute right, and the share that chance would give."""

    objects: int
    attribute: str
    right: int
    total: int
    chance: float | None

    @property
    def share(self) -> float:
        return self.right / self.total


def score(readings, scenes) -> list[Score]:
    """Per number of objects and attribute. Chance: the same readings judged against the scenes of other pictures."""
    pairs = list(zip(readings, scenes, strict=True))
    lines = []
    for objects in (1, 2):
        own = [pair for pair in pairs if len(pair[1].items) == objects]
        if not own:
            continue
        verdicts = [judge(*pair) for pair in own]
        others = []
        for shift in range(1, min(CHANCE_SHIFTS + 1, len(own))):
            others += [judge(reading, other) for (reading, _), (_, other) in zip(own, own[shift:] + own[:shift])]
        for name in ATTRIBUTES:
            chance = sum(getattr(other, name) for other in others) / len(others) if others else None
            lines.append(Score(objects, name, sum(getattr(verdict, name) for verdict in verdicts), len(own), chance))
    return lines
