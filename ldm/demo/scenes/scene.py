"""What a scene is: one or two objects, where they are, and a background. No pixels and no words."""

from dataclasses import asdict, dataclass

from ldm.demo.scenes.palette import COLOURS
from ldm.demo.scenes.shapes import OUTLINES

SIZES = {"small": 0.21, "medium": 0.285, "large": 0.36}  # longer side of an object as a fraction of the picture's
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "middle", "right")
POSITIONS = tuple(f"{row} {column}" for row in ROWS for column in COLUMNS)  # of a single object
RELATIONS = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
}  # and the same seen from the other
DIRECTIONS = ("vertical", "horizontal")


def choice(rng, values):
    """One of the values, uniformly: one draw of `rng`."""
    return values[int(rng.integers(len(values)))]


def _known(kind: str, value, allowed):
    if value not in allowed:
        raise ValueError(f"{kind} {value!r} is unknown: one of {', '.join(allowed)}.")


@dataclass(frozen=True)
class Item:
    """One object."""

    shape: str
    colour: str
    size: str

    def __post_init__(self):
        _known("shape", self.shape, OUTLINES)
        _known("colour", self.colour, COLOURS)
        _known("size", self.size, SIZES)


@dataclass(frozen=True)
class Background:
    """One flat colour, or a gradient between two: from top to bottom (vertical) or from left to right (horizontal)."""

    colours: tuple
    direction: str | None = None

    def __post_init__(self):
        for colour in self.colours:
            _known("background colour", colour, COLOURS)
        if len(self.colours) != (1 if self.direction is None else 2):
            raise ValueError(
                f"A background is one colour or two with a direction, not {self.colours} with {self.direction}."
            )
        if self.direction is not None:
            _known("direction", self.direction, DIRECTIONS)


@dataclass(frozen=True)
class Scene:
    """One or two objects on a background.

    place: the position of a single object, or the relation "items[0] PLACE items[1]" of two; seed: varies the exact places.
    """

    items: tuple
    place: str
    background: Background
    seed: int = 0

    def __post_init__(self):
        if len(self.items) not in (1, 2):
            raise ValueError(f"A scene has one or two objects, not {len(self.items)}.")
        _known("place", self.place, POSITIONS if len(self.items) == 1 else RELATIONS)

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "Scene":
        background = values["background"]
        return cls(
            items=tuple(Item(**item) for item in values["items"]),
            place=values["place"],
            background=Background(tuple(background["colours"]), background["direction"]),
            seed=values["seed"],
        )
