"""Image files -> float arrays: upright RGB, resized to cover a size, cropped (release: Resize, crop)."""

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ldm.data.crops import place_crop

ORIENTATION = 0x0112  # EXIF tag
TURNED = (5, 6, 7, 8)  # its values that swap width and height
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError)


def open_rgb(file, label=None) -> Image.Image:
    """An image file as upright RGB, 8 bits: EXIF orientation applied, transparency laid on white.

    file: a path, or a binary file that messages call `label`. ValueError names one that is no image or is damaged.
    """
    try:
        with Image.open(file) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):  # 16 bits of grey
                return _eight_bits(image).convert("RGB")
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except UNREADABLE as error:
        raise _unreadable(label or file, error) from error


def _unreadable(label, error) -> ValueError:
    return ValueError(f"{label} cannot be read as an image ({error}): replace or remove it.")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> 8-bit grey; PIL's own conversion would clip at 255 instead of scaling."""
    values = np.asarray(image, np.float64) / 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def upright_size(file, label: str) -> tuple[int, int]:
    """(width, height) of an image once its EXIF orientation is applied, from its header alone.

    A PNG whose orientation comes after its pixels counts as upright: looking for it would mean reading all of it.
    """
    try:
        with Image.open(file) as image:
            width, height = image.size
            header_has_exif = image.format != "PNG" or "exif" in image.info
            turned = header_has_exif and image.getexif().get(ORIENTATION) in TURNED
            return (height, width) if turned else (width, height)
    except UNREADABLE as error:
        raise _unreadable(label, error) from error


def resize_and_crop(
    image: Image.Image, size, resample=Image.Resampling.BILINEAR, crop: str = "centre", rng=None
) -> Image.Image:
    """Resized (antialiased) just to cover `size`, a side or (width, height), then cut to it by `crop` (ldm/data/crops.py).

    For a square that means: the short side becomes `size`.
    """
    size = (size, size) if isinstance(size, int) else tuple(size)
    scale = max(wanted / side for wanted, side in zip(size, image.size))
    covering = tuple(max(wanted, round(side * scale)) for wanted, side in zip(size, image.size))
    image = image.resize(covering, resample)
    left, top = place_crop(image, size, crop, rng)
    return image.crop((left, top, left + size[0], top + size[1]))


def to_array(image: Image.Image) -> np.ndarray:
    """RGB image -> float32 (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)) / np.float32(255)


def clip_array(image: Image.Image, size: int) -> np.ndarray:
    """What CLIP's image tower takes: bicubic resize, centre crop -> float32 (3, size, size) in [0, 1]."""
    return to_array(resize_and_crop(image, size, Image.Resampling.BICUBIC))
