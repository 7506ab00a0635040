"""Crops, mirroring and shapes of dataset items: functions of the view alone, the fixed view for plain numbers."""

import pickle

import numpy as np
import pytest
from PIL import Image

from ldm.data.buckets import AspectBuckets
from ldm.data.dataset import ImageTextDataset, View
from ldm.data.image_sizes import image_sizes
from ldm.data.sources.opening import open_source
from ldm.data.transforms import place_crop, smart_place

SHAPES = [(200, 100), (100, 200), (128, 128)]


@pytest.fixture
def source(tmp_path):
    """Three images whose pixels all differ: columns grow in red, rows in green."""
    for index, (width, height) in enumerate(SHAPES):
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        Image.fromarray(np.stack([x, y, 0 * x], 2).astype("uint8")).save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.txt").write_text(f"caption {index}")
    return open_source(tmp_path)


def test_a_view_is_a_number_that_travels():
    view = View(5, 1, 2, 3)
    assert view == 5 and [10, 11, 12, 13, 14, 15][view] == 15
    copied = pickle.loads(pickle.dumps(view))
    assert (copied, copied.seed, copied.epoch, copied.bucket) == (5, 1, 2, 3)
    assert copied.draws().random() == view.draws().random()
    others = [View(6, 1, 2, 3), View(5, 2, 2, 3), View(5, 1, 3, 3)]
    assert all(other.draws().random() != view.draws().random() for other in others)


def test_random_views_are_functions_of_the_view(source):
    dataset = ImageTextDataset(source, 64, clip_size=32, crop="random", flip=True)
    views = [dataset[View(0, 0, epoch)]["image"] for epoch in range(20)]
    assert all(np.array_equal(view, dataset[View(0, 0, epoch)]["image"]) for epoch, view in enumerate(views))
    assert len({view.tobytes() for view in views}) > 10
    mirrored = [view[0, 0, 0] > view[0, 0, -1] for view in views]  # red grows to the right in the file
    assert 4 < sum(mirrored) < 16
    assert dataset[View(0, 0, 0)]["clip_pixels"].shape == (3, 32, 32)


def test_plain_numbers_give_the_fixed_view(source):
    plain = ImageTextDataset(source, 64)
    varied = ImageTextDataset(source, 64, crop="random", flip=True, buckets=AspectBuckets(64, np.array(SHAPES)))
    for index in range(3):
        assert np.array_equal(varied[index]["image"], plain[index]["image"])
        assert varied[index]["index"] == index and varied[index]["caption"] == f"caption {index}"
        assert np.array_equal(plain[View(index, 0, 0)]["image"], plain[index]["image"])  # nothing random was asked for


def test_items_have_the_shape_of_the_views_bucket(source):
    sizes, problems = image_sizes(source)
    assert sizes.tolist() == [list(shape) for shape in SHAPES] and not problems
    buckets = AspectBuckets(128, sizes)
    dataset = ImageTextDataset(source, 128, buckets=buckets)
    for index, expected in enumerate([(3, 64, 160), (3, 160, 64), (3, 128, 128)]):
        assert dataset[View(index, 0, 0, buckets.own[index])]["image"].shape == expected


def test_random_crops_reach_every_place_and_centre_crops_one():
    image, rng = Image.new("RGB", (8, 4)), np.random.default_rng(0)
    assert {place_crop(image, (4, 4), "random", rng) for _ in range(99)} == {(left, 0) for left in range(5)}
    assert place_crop(image, (4, 4), "centre", rng) == (2, 0) == place_crop(image, (4, 4), "random", None)


@pytest.mark.parametrize("left", [0, 50, 130, 300])
def test_smart_crops_find_what_is_to_be_seen(left):
    noise = np.random.default_rng(0).integers(0, 255, (100, 100, 3), dtype="uint8")
    scene = np.full((100, 400, 3), 128, "uint8")
    scene[:, left : left + 100] = noise
    for image, axis in ((Image.fromarray(scene), 0), (Image.fromarray(scene.transpose(1, 0, 2)), 1)):
        place = smart_place(image, (100, 100))
        assert abs(place[axis] - left) <= 10 and place[1 - axis] == 0


def test_smart_crops_of_nothing_are_centred():
    assert smart_place(Image.new("RGB", (300, 100), "grey"), (100, 100)) == (100, 0)


def test_an_unknown_crop_is_refused(source):
    with pytest.raises(ValueError, match="--crop must be centre, random or smart, got 'middle'"):
        ImageTextDataset(source, 64, crop="middle")
