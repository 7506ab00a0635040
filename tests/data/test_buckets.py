"""Aspect buckets: the release's ratios and sides, nearest ratio, the share of random ones, and image sizes from headers."""

from fractions import Fraction
from math import floor, sqrt

import numpy as np
import pytest
from PIL import Image

from ldm.data import image_sizes as module
from ldm.data.buckets import RATIOS, AspectBuckets
from ldm.data.image_sizes import image_sizes
from ldm.data.sources.opening import open_source


def test_sides_are_the_releases():
    assert len(RATIOS) == 23 and {1 / ratio for ratio in RATIOS} == set(RATIOS)
    buckets = AspectBuckets(768, [[1, 1]])
    expected = {
        (floor(sqrt(768**2 * ratio) / 32) * 32, floor(sqrt(768**2 / ratio) / 32) * 32) for ratio in map(float, RATIOS)
    }
    assert set(buckets.shapes) == expected
    assert {(768, 768), (1312, 416), (416, 1312), (864, 640), (1024, 576)} <= expected


@pytest.mark.parametrize("ratio", RATIOS)
def test_every_ratio_finds_itself_and_its_near_ones(ratio):
    width, height = ratio.numerator * 240, ratio.denominator * 240
    buckets = AspectBuckets(1024, [[width, height], [width + 1, height], [width, height + 1]])
    shape = buckets.shapes[buckets.own[0]]
    assert buckets.own.tolist() == [buckets.own[0]] * 3
    assert abs(shape[0] / shape[1] - ratio) / ratio < 0.13  # whole multiples of 32


def test_the_nearest_ratio_is_by_difference():
    """1.17 is nearer to 6/5 than to 1 by difference; beyond the last ratio the last one is taken."""
    buckets = AspectBuckets(2048, [[117, 100], [109, 100], [10000, 100], [100, 10000]])
    shapes = [buckets.shapes[bucket] for bucket in buckets.own]
    assert shapes == [(2240, 1856), (2048, 2048), (5016 // 32 * 32, 832), (832, 5016 // 32 * 32)]
    assert Fraction(6, 5) in RATIOS


def test_small_sizes_use_the_ratios_that_still_have_pixels():
    shapes = AspectBuckets(64, [[1, 1]]).shapes
    assert min(min(shape) for shape in shapes) >= 32 and len(set(shapes)) == len(shapes)
    with pytest.raises(ValueError, match="too small"):
        AspectBuckets(16, [[1, 1]])


def test_a_share_of_the_views_takes_a_random_bucket():
    buckets = AspectBuckets(768, np.full((20000, 2), 500))
    first, again, later = (buckets.of_epoch(1, epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    assert abs((first != buckets.own).mean() - 0.05 * 22 / 23) < 0.006
    assert len(np.unique(first)) == len(buckets.shapes) == 21  # 23 ratios; two pairs have the same sides at 768
    assert np.array_equal(AspectBuckets(768, np.full((99, 2), 500), 0.0).of_epoch(1, 0), [buckets.own[0]] * 99)


@pytest.fixture
def folder(tmp_path):
    for index in range(4):
        Image.new("RGB", (40 + index, 30)).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text("words")
    return tmp_path


def opened(monkeypatch) -> list:
    """The images that are opened from now on."""
    seen, original = [], module.upright_size
    monkeypatch.setattr(module, "upright_size", lambda file, label: [seen.append(label), original(file, label)][1])
    return seen


def test_sizes_are_read_once_and_again_where_an_image_changed(folder, monkeypatch):
    seen = opened(monkeypatch)
    assert image_sizes(open_source(folder))[0][:, 0].tolist() == [40, 41, 42, 43] and len(seen) == 4
    Image.new("RGB", (90, 30)).save(folder / "2.png")
    (folder / "1.png").unlink()
    (folder / "1.txt").unlink()
    assert image_sizes(open_source(folder))[0][:, 0].tolist() == [40, 90, 43]
    assert seen[4:] == [f"{folder}/2.png"]


def test_sizes_can_be_kept_elsewhere(folder, tmp_path, monkeypatch):
    seen = opened(monkeypatch)
    for _ in range(2):
        image_sizes(open_source(folder), tmp_path / "index")
    assert len(seen) == 4 and not (folder / ".image_sizes.npz").exists()


def test_headers_that_cannot_be_read_are_listed(folder):
    (folder / "1.png").write_bytes(b"nothing")
    (folder / "3.png").write_bytes(b"")
    sizes, problems = image_sizes(open_source(folder))
    assert sizes[:, 0].tolist() == [40, 0, 42, 0] and sorted(problems) == [1, 3]
    assert f"{folder}/1.png cannot be read" in problems[1]


def test_a_damaged_index_says_what_to_do(folder):
    image_sizes(open_source(folder))
    whole = (folder / ".image_sizes.npz").read_bytes()
    for damaged in (b"rubbish", b"", whole[: len(whole) // 2]):
        (folder / ".image_sizes.npz").write_bytes(damaged)
        with pytest.raises(ValueError, match="image_sizes.npz is damaged.*delete it"):
            image_sizes(open_source(folder))
