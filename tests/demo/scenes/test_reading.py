"""Backgrounds and regions against truths made another way."""

import numpy as np
import pytest

from ldm.demo.scenes.reading import SMALLEST, fit_background, paint_background, regions


def flood(mask: np.ndarray) -> list[int]:
    """Sizes of the 8-connected regions by flood fill, largest first."""
    left, sizes = set(zip(*np.nonzero(mask))), []
    while left:
        stack, size = [left.pop()], 0
        while stack:
            y, x = stack.pop()
            size += 1
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack += near
        sizes.append(size)
    return sorted(sizes, reverse=True)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.4, 0.6])
def test_regions_are_what_flood_fill_finds(share):
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = rng.random((48, 40)) < share
        found = regions(mask)
        assert [region.sum() for region in found] == [size for size in flood(mask) if size >= SMALLEST * mask.size]
        assert not np.logical_and.reduce(found[:2]).any() or len(found) < 2
        assert all((region <= mask).all() for region in found)


def test_no_regions_and_one_that_fills_everything():
    assert regions(np.zeros((20, 20), bool)) == []
    assert len(regions(np.ones((20, 20), bool))) == 1


def test_a_plane_is_found_through_noise_and_an_object_on_the_border():
    rng = np.random.default_rng(0)
    plane = np.array([[20.0, 200, 90], [30, -40, 10], [100, 5, 60]])
    truth = paint_background(plane, 128, 128)
    image = truth + rng.normal(0, 5, truth.shape)
    image[:40, :30] = (250, 10, 250)  # a quarter of two sides
    found = fit_background(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    assert np.abs(paint_background(found, 128, 128) - truth).max() < 3
