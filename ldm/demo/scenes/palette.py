"""The ten colours of scenes, and how far apart two colours look (CIE 1976 L*a*b*, D65)."""

import numpy as np

COLOURS = {
    "red": (215, 25, 30),
    "orange": (255, 140, 0),
    "yellow": (255, 225, 30),
    "green": (30, 150, 50),
    "cyan": (0, 210, 225),
    "blue": (20, 90, 230),
    "purple": (140, 30, 150),
    "pink": (255, 130, 190),
    "black": (10, 10, 10),
    "white": (250, 250, 250),
}
RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)
WHITE_POINT = RGB_TO_XYZ.sum(axis=1)


def to_lab(rgb) -> np.ndarray:
    """sRGB in [0, 255], (..., 3) -> L*a*b* (..., 3), float32: Euclidean distances are roughly seen differences."""
    rgb = np.clip(np.asarray(rgb, np.float32) / 255, 0, 1)
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    ratio = linear @ RGB_TO_XYZ.T / WHITE_POINT
    f = np.where(ratio > 0.008856, np.cbrt(ratio), 7.787 * ratio + np.float32(16 / 116))
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


LAB = {name: to_lab(rgb) for name, rgb in COLOURS.items()}
_TABLE = np.array(list(LAB.values()))


def distance(first: str, second: str) -> float:
    """Seen difference of two named colours."""
    return float(np.linalg.norm(LAB[first] - LAB[second]))


def nearest(rgb) -> str:
    """The name of the colour that looks most like `rgb` (3 numbers in [0, 255])."""
    return list(LAB)[int(np.linalg.norm(_TABLE - to_lab(rgb), axis=1).argmin())]
