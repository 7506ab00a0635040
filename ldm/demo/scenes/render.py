"""A scene as pixels, antialiased."""

import math

import numpy as np

from ldm.demo.scenes.layout import layout
from ldm.demo.scenes.palette import COLOURS
from ldm.demo.scenes.scene import Background, Scene
from ldm.demo.scenes.shapes import coverage


def background_colours(background: Background, steps: int) -> np.ndarray:
    """The background along its direction, float (steps, 3) in [0, 255]; the ends are exactly its colours."""
    first, last = (np.array(COLOURS[colour], np.float64) for colour in (background.colours[0], background.colours[-1]))
    return first + np.linspace(0, 1, steps)[:, None] * (last - first)


def render_background(background: Background, size: int) -> np.ndarray:
    """uint8 (size, size, 3)."""
    line = np.rint(background_colours(background, size)).astype(np.uint8)
    line = line[None] if background.direction == "horizontal" else line[:, None]
    return np.broadcast_to(line, (size, size, 3)).copy()


def render(scene: Scene, size: int = 128) -> np.ndarray:
    """uint8 (size, size, 3)."""
    pixels = render_background(scene.background, size)
    for item, box in zip(scene.items, layout(scene)):
        half = box.extent / 2
        left, top = math.floor((box.x - half) * size), math.floor((box.y - half) * size)
        right, bottom = math.ceil((box.x + half) * size), math.ceil((box.y + half) * size)
        alpha = coverage(
            item.shape, box.extent * size, box.x * size - left, box.y * size - top, right - left, bottom - top
        )
        alpha = alpha[..., None].astype(np.float32) / 255
        window = pixels[top:bottom, left:right]
        window[:] = np.rint(window + alpha * (np.array(COLOURS[item.colour], np.float32) - window))
    return pixels
