"""Real photographs to try training with: those that scikit-image and scikit-learn carry, with captions of our own."""

from pathlib import Path

import numpy as np
from PIL import Image

from ldm.common.atomic import atomic_path

CAPTIONS = {
    "astronaut": "a portrait of a smiling astronaut in an orange space suit in front of a flag",
    "chelsea": "a close-up of a ginger tabby cat looking past the camera",
    "coffee": "a white cup of espresso with a spoon on a saucer on a wooden table",
    "rocket": "a white rocket on its launch pad under floodlights at dusk",
    "camera": "a black and white photo of a man in a coat looking through a camera on a tripod",
    "brick": "a black and white photo of a brick wall",
    "grass": "a black and white photo of grass from above",
    "gravel": "a black and white photo of gravel on the ground",
    "hubble_deep_field": "galaxies of many colours in the darkness of deep space",
    "moon": "a black and white photo of craters on the surface of the moon",
    "china": "a Chinese temple with a curved yellow and green roof under a grey sky",
    "flower": "a red dahlia in front of green leaves",
}
FROM_SCIKIT_LEARN = ("china", "flower")


def load_photo(name: str) -> np.ndarray:
    """uint8 (H, W) or (H, W, 3); ModuleNotFoundError with the remedy if the carrying package is not installed."""
    try:
        if name in FROM_SCIKIT_LEARN:
            from sklearn.datasets import load_sample_image

            return load_sample_image(f"{name}.jpg")
        from skimage import data

        return getattr(data, name)()
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: pip install scikit-image scikit-learn, which carry the photographs."
        ) from error


def write_photos(folder, longest: int = 768) -> int:
    """Write the photographs as an image-text folder, sides at most `longest` pixels; returns how many."""
    folder = Path(folder)
    for name, caption in CAPTIONS.items():
        image = Image.fromarray(load_photo(name)).convert("RGB")
        image.thumbnail((longest, longest))
        with atomic_path(folder / f"{name}.png") as temporary:
            image.save(temporary, format="PNG")
        with atomic_path(folder / f"{name}.txt") as temporary:
            temporary.write_text(caption + "\n", encoding="utf-8")
    return len(CAPTIONS)
