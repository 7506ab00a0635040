"""What every part measures on: held-out prompts (scenes of the test split, each with a combination that training never
shows, and full captions), their true pictures, and something that makes pictures of captions."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Callable

import numpy as np
from tqdm.auto import tqdm

from ldm.demo.evaluation.settings import EvaluationSettings
from ldm.demo.scenes.dataset import SceneSettings, make_example
from ldm.demo.scenes.render import render
from ldm.demo.scenes.scene import Scene
from ldm.pipeline import GenerationSettings, StableCascade

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


@dataclass(frozen=True)
class Bench:
    """generate(captions, seed, **changes) -> uint8 (N, size, size, 3); changes: other values of GenerationSettings.

    Any function will do for it. Parts that look inside the cascade take its networks from `cascade`.
    """

    settings: EvaluationSettings
    folder: Path  # for pictures and lists
    generate: Callable
    cascade: StableCascade | None = None

    @cached_property
    def examples(self) -> list:
        return self.first_examples(self.settings.count)

    def first_examples(self, count: int) -> list:
        return held_out_examples(count, self.settings.size, self.settings.scene_seed)

    @property
    def captions(self) -> list:
        return [example.caption for example in self.examples]

    @property
    def scenes(self) -> list:
        return [example.scene for example in self.examples]

    @cached_property
    def true_pictures(self) -> list:
        """What was asked for, drawn: uint8 (size, size, 3) each."""
        return [render(example.scene, self.settings.size) for example in self.examples]

    def batches(self, purpose: str):
        """Slices over the examples, with a progress bar."""
        return tqdm(batch_slices(self.settings.count, self.settings.batch_size), desc=purpose, leave=False)


def batch_slices(count: int, batch_size: int) -> list[slice]:
    return [slice(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def cascade_generator(cascade: StableCascade, settings: EvaluationSettings) -> Callable:
    """The bench's `generate` by a cascade, different captions in one batch; image i uses seed + i."""
    shared = ("steps", "cfg", "decoder_steps", "decoder_cfg")
    base = GenerationSettings(settings.size, settings.size, **{name: getattr(settings, name) for name in shared})

    def generate(captions, seed: int, **changes) -> np.ndarray:
        images = []
        with tqdm(total=len(captions), desc="Images", unit="image", leave=False) as bar:
            for part in batch_slices(len(captions), settings.batch_size):
                batch = list(captions[part])
                own = replace(base, seed=seed + part.start, **changes)
                images.append(cascade(batch, len(batch), own, progress=False))
                bar.update(len(batch))
        return np.concatenate(images)

    return generate
