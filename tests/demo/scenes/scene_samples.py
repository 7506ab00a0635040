"""Scenes and disturbed pictures for the tests of ldm/demo/scenes."""

import numpy as np
from PIL import Image, ImageFilter

from ldm.demo.scenes.sampling import sample_scene
from ldm.demo.scenes.scene import Background, Item, Scene


def scenes(count: int, split: str, seed: int = 0) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, split) for _ in range(count)]


def scenes_of_both_splits(count: int, seed: int = 0) -> list[Scene]:
    return [scene for split in ("train", "test") for scene in scenes(count // 2, split, seed)]


def one(shape="star", colour="red", size="medium", place="top left", background="white", seed=3) -> Scene:
    return Scene((Item(shape, colour, size),), place, Background((background,)), seed)


def two(
    place="left of", background="yellow", first=("star", "red", "small"), second=("square", "blue", "large"), seed=3
) -> Scene:
    return Scene((Item(*first), Item(*second)), place, Background((background,)), seed)


def disturb(image: np.ndarray, rng, blur: float = 0, shift: float = 0, noise: float = 0) -> np.ndarray:
    """What a small generator does: soft edges, colours that are a little off, grain."""
    image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(blur)), np.float64)
    image = image + rng.uniform(-shift, shift, 3) + rng.normal(0, noise, image.shape)
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)
