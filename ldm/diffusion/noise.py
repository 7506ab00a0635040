"""Random numbers from explicit seeds, one independent stream per image and purpose, equal on every device."""

import numpy as np
import paddle


class NoiseStream:
    """Standard normal noise for a batch in which image i draws from its own seed and from nothing else.

    A seed is an integer or a tuple of them; `purpose` separates the streams of one seed (prior, decoder, ...), so that they
    do not repeat each other.
    """

    def __init__(self, seeds, purpose: str):
        tag = int.from_bytes(purpose.encode(), "little")
        self.generators = [self._generator(seed, tag) for seed in seeds]

    @staticmethod
    def _generator(seed, tag: int):
        parts = [check_seed(part) for part in (seed if isinstance(seed, tuple) else (seed,))]
        return np.random.Generator(np.random.Philox(np.random.SeedSequence([*parts, tag])))

    def __len__(self):
        return len(self.generators)

    def normal(self, shape) -> paddle.Tensor:
        """`shape` of one image -> (B, *shape), float32."""
        draws = [generator.standard_normal(tuple(shape), dtype=np.float32) for generator in self.generators]
        return paddle.to_tensor(np.stack(draws))

    def uniform(self) -> paddle.Tensor:
        """One number in [0, 1) per image, (B,) float32."""
        return paddle.to_tensor(np.stack([generator.random(dtype=np.float32) for generator in self.generators]))


class RecordedNoise:
    """Noise recorded elsewhere, (N, B, C, H, W), handed out in order: for comparing trajectories."""

    def __init__(self, recorded):
        self.remaining = list(recorded)

    def normal(self, shape) -> paddle.Tensor:
        return paddle.to_tensor(self.remaining.pop(0))


def check_seed(seed) -> int:
    """A seed as an int; ValueError for negative ones, which numpy has no stream for."""
    if int(seed) < 0:
        raise ValueError(f"A seed must not be negative, got {seed}.")
    return int(seed)


def image_seeds(seed: int, count: int) -> list[int]:
    """Image i of a batch with `seed` is the single image of seed + i."""
    return [check_seed(seed) + i for i in range(count)]


def pyramid_noise(epsilon, stream, decay: float = 0.75, largest: int = 16):
    """Add coarser noise to epsilon (B, C, H, W), unit variance kept (release, Stage B's training option).

    Level i = 1, 2, ... is noise of side H / 2^i, repeated to full size, times decay^i; only sides up to `largest`.
    """
    height, width = epsilon.shape[2:]
    total, squares = epsilon, 1.0
    for level in range(1, 10):
        rows, columns = height // 2**level, width // 2**level
        if min(rows, columns) < 1:
            break
        if min(rows, columns) <= largest:
            coarse = stream.normal((epsilon.shape[1], rows, columns))
            scaled = paddle.nn.functional.interpolate(coarse, size=[height, width], mode="nearest")
            total, squares = total + scaled * decay**level, squares + decay ** (2 * level)
    return total / squares**0.5
