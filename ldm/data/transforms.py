"""Image files -> float arrays: upright RGB, resized to cover a size, cut to it in the middle, anywhere or where most is to be seen."""

import numpy as np
from PIL import Image

from ldm.data.image_files import Unsupported, check_png, opened, orientation

# EXIF orientation -> how the image is turned upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
TURNED = (5, 6, 7, 8)  # orientations that swap width and height
MOST_COVERING = 1 << 26  # pixels of a resized image before it is cut; only shapes beyond 1:64 have more at 1024
CROPS = ("centre", "random", "smart")
SMALL = 128  # longest side of what smart crops are decided on
CENTRE_PULL = 0.05  # how much a window at the border loses against one in the middle


def open_rgb(file, label=None, thorough: bool = False) -> Image.Image:
    """An image file as upright RGB, 8 bits: EXIF orientation applied, transparency laid on white.

    file: a path, or a binary file that messages call `label`. Of animations the first picture. ValueError names one that
    is no image, is damaged, has too many pixels or a kind of pixels that has no certain meaning (ldm/data/image_files.py).
    thorough: compare a PNG's checksums too, where `file` is no path.
    """
    with opened(file, label) as image:
        image.load()
        if thorough and image.format == "PNG":
            check_png(file)
        turn = UPRIGHT.get(orientation(image))
        rgb = _rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _eight_bits(image).convert("RGB")
    if image.mode in ("RGBA", "LA") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey -> 8-bit grey; PIL's own conversion would clip at 255 instead of scaling."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise Unsupported("it has 32 bits of grey, whose scale is unknown: save it with 8 or 16")
    values = values.astype(np.uint32)
    values[values == image.info.get("transparency", -1)] = 0xFFFF
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))


def upright_size(file, label: str) -> tuple[int, int]:
    """(width, height) of an image once its EXIF orientation is applied, from its header alone.

    A PNG whose orientation comes after its pixels counts as upright: looking for it would mean reading all of it.
    """
    with opened(file, label) as image:
        width, height = image.size
        header_has_exif = image.format != "PNG" or "exif" in image.info
        turned = header_has_exif and orientation(image) in TURNED
        return (height, width) if turned else (width, height)


def resize_and_crop(
    image: Image.Image, size, resample=Image.Resampling.BILINEAR, crop: str = "centre", rng=None
) -> Image.Image:
    """Resized (antialiased) just to cover `size`, a side or (width, height), then cut to it by `crop` (one of CROPS).

    For a square that means: the short side becomes `size`. Very long images are cut before they are resized.
    """
    size = (size, size) if isinstance(size, int) else tuple(size)
    scale = max(wanted / side for wanted, side in zip(size, image.size))
    covering = tuple(max(wanted, round(side * scale)) for wanted, side in zip(size, image.size))
    if covering[0] * covering[1] > MOST_COVERING:
        window = tuple(min(side, max(1, round(wanted / scale))) for wanted, side in zip(size, image.size))
        return _window(image, window, crop, rng).resize(size, resample)
    return _window(image.resize(covering, resample), size, crop, rng)


def _window(image: Image.Image, size: tuple, crop: str, rng) -> Image.Image:
    left, top = place_crop(image, size, crop, rng)
    return image.crop((left, top, left + size[0], top + size[1]))


def to_array(image: Image.Image) -> np.ndarray:
    """RGB image -> float32 (3, H, W) in [0, 1]."""
    return np.ascontiguousarray(np.asarray(image, np.float32).transpose(2, 0, 1)) / np.float32(255)


def clip_array(image: Image.Image, size: int) -> np.ndarray:
    """What CLIP's image tower takes: bicubic resize, centre crop -> float32 (3, size, size) in [0, 1]."""
    return to_array(resize_and_crop(image, size, Image.Resampling.BICUBIC))


# Crops ---------------------------------------------------------------------------------------------------------


def check_crop(crop: str, flag: str = "--crop"):
    """ValueError for an unknown kind of crop."""
    if crop not in CROPS:
        raise ValueError(f"{flag} must be {', '.join(CROPS[:-1])} or {CROPS[-1]}, got {crop!r}.")


def place_crop(image: Image.Image, size: tuple[int, int], crop: str, rng=None) -> tuple[int, int]:
    """Left and top of the (width, height) window of an image; random ones are uniform draws from `rng`."""
    slack = [side - wanted for side, wanted in zip(image.size, size)]
    if crop == "random" and rng is not None:
        return tuple(int(rng.integers(0, rest + 1)) for rest in slack)
    if crop == "smart":
        return smart_place(image, size)
    return tuple(rest // 2 for rest in slack)


def smart_place(image: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the window with the most detail.

    Detail is the strength of edges (brightness gradient) plus colourfulness (HSV saturation times value), summed over
    the window on a copy of at most 128 px; the middle wins among equals. The release uses the smartcrop package, which
    also looks for skin and weighs by the rule of thirds; this looks for neither.
    """
    detail = _detail(image)
    return tuple(_best_window(detail.sum(axis), side, wanted) for axis, side, wanted in zip((0, 1), image.size, size))


def _detail(image: Image.Image) -> np.ndarray:
    """(h, w) of a small copy: how much there is to see."""
    scale = SMALL / max(image.size)
    small = image.resize([max(2, round(side * min(1, scale))) for side in image.size], Image.Resampling.BOX)
    grey = np.asarray(small.convert("L"), np.float64) / 255
    rows, columns = np.gradient(grey)
    hsv = np.asarray(small.convert("HSV"), np.float64) / 255
    return np.hypot(rows, columns) + 0.1 * hsv[..., 1] * hsv[..., 2]


def _best_window(detail: np.ndarray, side: int, wanted: int) -> int:
    """Start of the window of `wanted` of `side` pixels with the most of `detail`, given along a small copy (n,)."""
    slack = side - wanted
    if slack == 0:
        return 0
    sums = np.interp(np.arange(side + 1) * len(detail) / side, np.arange(len(detail) + 1), np.cumsum([0, *detail]))
    starts = np.arange(slack + 1)
    inside = sums[starts + wanted] - sums[starts]
    off_centre = np.abs(starts - slack / 2) / (slack / 2)
    return int(np.argmax(inside * (1 - CENTRE_PULL * off_centre) - 1e-9 * off_centre))
