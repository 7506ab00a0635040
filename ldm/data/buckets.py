"""Aspect-ratio buckets as in the release: images of different shapes, about as many pixels each, batched by shape."""

from fractions import Fraction

import numpy as np

MULTIPLE = 32  # sides divide by it: the encoder's stride
WIDE = ("1/1", "1/2", "1/3", "2/3", "3/4", "1/5", "2/5", "3/5", "4/5", "1/6", "5/6", "9/16")
RATIOS = sorted({ratio for text in WIDE for ratio in (Fraction(text), 1 / Fraction(text))})  # width / height
EPOCH_DRAWS = 1  # sets these random numbers apart from others of the same seed and epoch


def sides_of_ratio(resolution: int, ratio) -> tuple[int, int]:
    """(width, height) of about resolution^2 pixels: floor32(sqrt(S^2 r)), floor32(sqrt(S^2 / r))."""
    sides = (resolution * resolution * float(factor) for factor in (ratio, 1 / ratio))
    return tuple(int(side**0.5 + 1e-9) // MULTIPLE * MULTIPLE for side in sides)


class AspectBuckets:
    """The bucket of every sample. sizes (N, 2): widths and heights of the images in pixels.

    A sample belongs to the ratio nearest to its width / height; ratios with the same sides are one bucket, those with
    a side below 32 pixels are not used. random_share: probability that a view takes the sides of a ratio drawn
    instead (release: 0.05).
    """

    def __init__(self, resolution: int, sizes, random_share: float = 0.05):
        pairs = [(float(ratio), sides_of_ratio(resolution, ratio)) for ratio in RATIOS]
        pairs = [(ratio, sides) for ratio, sides in pairs if min(sides) >= MULTIPLE]
        if not pairs:
            raise ValueError(f"--resolution {resolution} is too small for aspect buckets: use {MULTIPLE} or more.")
        self.resolution, self.random_share = resolution, random_share
        self.shapes = list(dict.fromkeys(sides for _, sides in pairs))  # (width, height) by bucket
        self._bucket_of_ratio = np.array([self.shapes.index(sides) for _, sides in pairs], np.uint8)
        self.own = self._nearest(np.array([ratio for ratio, _ in pairs]), np.asarray(sizes))  # (N,)

    def _nearest(self, ratios, sizes):
        wanted, own = sizes[:, 0] / sizes[:, 1], np.empty(len(sizes), np.uint8)
        for start in range(0, len(sizes), 65536):  # N x 23 distances at once would be a lot for a million
            part = slice(start, start + 65536)
            own[part] = self._bucket_of_ratio[np.abs(wanted[part, None] - ratios).argmin(1)]
        return own

    def of_epoch(self, seed: int, epoch: int) -> np.ndarray:
        """The bucket (N,) in which every sample is seen in an epoch: its own or, with `random_share`, a drawn one."""
        rng = np.random.default_rng([seed, epoch, EPOCH_DRAWS])
        chance, drawn = rng.random(len(self.own)), rng.integers(0, len(self._bucket_of_ratio), len(self.own))
        return np.where(chance < self.random_share, self._bucket_of_ratio[drawn], self.own)

    def summary(self) -> str:
        """How many images each shape has."""
        counts = np.bincount(self.own, minlength=len(self.shapes))
        parts = (f"{width}x{height}: {count}" for (width, height), count in zip(self.shapes, counts) if count)
        return f"Aspect buckets of about {self.resolution}^2 pixels (width x height: images): {', '.join(parts)}."
