"""What every part measures on: prompts, their true pictures, and something that makes pictures of captions."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Callable

import numpy as np
from tqdm.auto import tqdm

from ldm.demo.evaluation.examples import held_out_examples, true_pictures
from ldm.demo.evaluation.settings import EvaluationSettings
from ldm.pipeline import GenerationSettings, StableCascade


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
        return true_pictures(self.examples, self.settings.size)

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
