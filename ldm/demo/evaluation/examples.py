"""Held-out prompts: scenes of the test split, each with a combination that training never shows, and full captions."""

from dataclasses import dataclass

from ldm.demo.scenes.dataset import SceneSettings, make_example
from ldm.demo.scenes.render import render
from ldm.demo.scenes.scene import Scene

FIRST_CONCEPT_SEED = 1000  # assets/houses is of a smaller one


@dataclass(frozen=True)
class Example:
    """What is asked for."""

    scene: Scene
    caption: str


def held_out_examples(count: int, size: int, seed: int) -> list[Example]:
    """The first `count` test scenes of `seed`; more begin with the same ones. ValueError for sizes no scene has."""
    settings = SceneSettings(count, size, seed, "test")
    return [Example(*make_example(settings, index)) for index in range(count)]


def concept_examples(count: int, size: int, seed: int) -> list[Example]:
    """The first `count` scenes with a new shape, other ones than in assets/houses."""
    settings = SceneSettings(count, size, FIRST_CONCEPT_SEED + seed, "concept")
    return [Example(*make_example(settings, index)) for index in range(count)]


def true_pictures(examples, size: int) -> list:
    """What was asked for, drawn: uint8 (size, size, 3) each."""
    return [render(example.scene, size) for example in examples]
