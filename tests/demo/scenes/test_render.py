"""Where objects are and what their pixels are."""

import math

import numpy as np
import pytest
from scene_samples import one, scenes_of_both_splits, two

from ldm.demo.scenes.layout import GAP, MARGIN, layout
from ldm.demo.scenes.palette import COLOURS
from ldm.demo.scenes.render import render
from ldm.demo.scenes.scene import POSITIONS, RELATIONS, SIZES, Background, Item, Scene
from ldm.demo.scenes.shapes import OUTLINES, coverage


def mask(scene: Scene, index: int) -> np.ndarray:
    """The pixels that one object of a scene changes."""
    first, second = (
        render(Scene(scene.items, scene.place, Background((colour,)), scene.seed)) for colour in ("black", "white")
    )
    covered = (first == second).all(-1)
    box = layout(scene)[index]
    y, x = (np.mgrid[0:128, 0:128] + 0.5) / 128
    return covered & (np.abs(x - box.x) <= box.extent / 2) & (np.abs(y - box.y) <= box.extent / 2)


def test_objects_keep_apart_and_off_the_border():
    for scene in scenes_of_both_splits(2000):
        boxes = layout(scene)
        for box in boxes:
            assert min(box.x, box.y) - box.extent / 2 >= MARGIN - 1e-9
            assert max(box.x, box.y) + box.extent / 2 <= 1 - MARGIN + 1e-9
        if len(boxes) == 2:
            first, second = boxes
            right, down = second.x - first.x, second.y - first.y
            steps = {"left of": right, "right of": -right, "above": down, "below": -down}
            assert max(steps, key=steps.get) == scene.place
            assert steps[scene.place] >= (first.extent + second.extent) / 2 + GAP - 1e-9


def test_the_largest_pair_fits():
    for place in RELATIONS:
        for seed in range(50):
            boxes = layout(two(place, first=("square", "red", "large"), second=("square", "blue", "large"), seed=seed))
            assert all(box.extent == SIZES["large"] for box in boxes)


def test_the_border_of_every_picture_is_background():
    for scene in scenes_of_both_splits(200):
        image = render(scene)
        border = np.concatenate([side.reshape(-1, 3) for side in (image[:2], image[-2:], image[:, :2], image[:, -2:])])
        colours = np.array([COLOURS[colour] for colour in scene.background.colours])
        assert (border >= colours.min(0)).all() and (border <= colours.max(0)).all()


@pytest.mark.parametrize("place", POSITIONS)
def test_single_objects_are_where_the_words_say(place):
    row, column = place.split()
    wanted = {"top": 0, "left": 0, "middle": 1, "bottom": 2, "right": 2}
    for seed in range(20):
        for size in SIZES:
            (box,) = layout(one(place=place, size=size, seed=seed))
            assert (int(box.y * 3), int(box.x * 3)) == (wanted[row], wanted[column])


def test_colours_are_exact_inside_and_outside():
    scene = two()
    image = render(scene)
    for item, box in zip(scene.items, layout(scene)):
        assert tuple(image[int(box.y * 128), int(box.x * 128)]) == COLOURS[item.colour]
    assert tuple(image[0, 0]) == COLOURS["yellow"]


def test_gradients_run_from_the_first_colour_to_the_second():
    items = (Item("circle", "white", "small"),)
    down = render(Scene(items, "middle middle", Background(("black", "blue"), "vertical")))
    across = render(Scene(items, "middle middle", Background(("black", "blue"), "horizontal")))
    assert tuple(down[0, 9]) == COLOURS["black"] and tuple(down[-1, 9]) == COLOURS["blue"]
    np.testing.assert_array_equal(down.transpose(1, 0, 2)[:9], across[:9])
    assert (np.diff(down[:, 0, 2].astype(int)) >= 0).all()


@pytest.mark.parametrize(
    "shape, area",
    [
        ("square", 1),
        ("circle", math.pi / 4),
        ("ring", math.pi / 4 * (1 - 0.55**2)),
        ("diamond", 0.36),
        ("cross", 5 / 9),
    ],
)
def test_coverage_has_the_area_of_the_shape(shape, area):
    """Within 2 %: an eighth of a pixel along the edge of a shape of 40 pixels."""
    covered = coverage(shape, 40, 25.3, 24.6, 50, 50) / 255
    assert covered.sum() == pytest.approx(area * 1600, rel=0.02)
    assert set(np.unique(covered)) - {0, 1}, "no pixel is partly covered: edges are not antialiased"


def test_every_shape_fills_its_box_and_differs_from_the_others():
    masks = {shape: coverage(shape, 20, 16, 16, 32, 32) / 255 for shape in OUTLINES}
    for shape, covered in masks.items():
        rows, columns = (np.nonzero(covered.max(axis) >= 0.3)[0] for axis in (1, 0))
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
        for other in masks:
            if other != shape:
                assert np.minimum(covered, masks[other]).sum() / np.maximum(covered, masks[other]).sum() < 0.85, (
                    shape,
                    other,
                )


def test_sizes_are_ordered_in_pixels():
    areas = [mask(one(size=size), 0).sum() for size in SIZES]
    assert areas[0] * 1.5 < areas[1] and areas[1] * 1.5 < areas[2]


def test_edges_are_antialiased():
    image = render(one(shape="circle", colour="black", background="white"))
    assert len(np.unique(image[..., 0])) > 8


def test_rendering_is_deterministic_and_varies_with_the_seed():
    assert np.array_equal(render(one(seed=1)), render(one(seed=1)))
    assert not np.array_equal(render(one(seed=1)), render(one(seed=2)))


def test_a_larger_picture_is_the_same_picture():
    small, large = render(two(), 128), render(two(), 256)
    halved = large.reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert large.shape == (256, 256, 3) and large.dtype == np.uint8
    assert np.abs(halved - small).mean() < 1  # only edge pixels differ: 4 x 4 and 8 x 8 points each
