"""Image files -> float arrays: upright RGB, resized by the short side, cropped (release: Resize, crop)."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError


def open_rgb(path) -> Image.Image:
    """An image file as upright RGB: EXIF orientation applied, transparency laid on white.

    ValueError names a file that is no image or is damaged.
    """
    try:
        with Image.open(path) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}): replace or remove it.") from error


def resize_and_crop(image: Image.Image, size: int, resample=Image.Resampling.BILINEAR) -> Image.Image:
    """The short side becomes `size` (antialiased), the middle size x size pixels are kept."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), resample).crop((left, top, left + size, top + size))


def to_array(image: Image.Image) -> np.ndarray:
    """RGB image -> float32 (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)) / np.float32(255)


def clip_array(image: Image.Image, size: int) -> np.ndarray:
    """What CLIP's image tower takes: bicubic resize, centre crop -> float32 (3, size, size) in [0, 1]."""
    return to_array(resize_and_crop(image, size, Image.Resampling.BICUBIC))
