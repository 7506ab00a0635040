"""The numbers themselves: known noise, known shares, known neighbours."""

import numpy as np
import pytest

from ldm.demo.evaluation.measures import BEST_PSNR, difference, psnr, spread, ssim, wilson
from ldm.demo.evaluation.retrieval import retrieve
from ldm.demo.evaluation.scores import find_row, score_rows
from ldm.demo.evaluation.tables import markdown_table, percent
from ldm.demo.scenes.dataset import SceneSettings, make_example
from ldm.demo.scenes.reading import read
from ldm.demo.scenes.render import render


def noisy(image, deviation, seed=0):
    noise = np.random.default_rng(seed).normal(0, deviation, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


@pytest.fixture
def grey():
    return np.full((128, 128, 3), 128, np.uint8)


@pytest.mark.parametrize("deviation", [4, 16])
def test_psnr_of_known_noise(grey, deviation):
    expected = 10 * np.log10(255**2 / (deviation**2 + 1 / 12))  # 1/12: the variance that rounding adds
    assert psnr(noisy(grey, deviation), grey) == pytest.approx(expected, abs=0.1)  # of 49152 draws


def test_psnr_of_one_level_and_of_equal_pictures(grey):
    assert psnr(grey + 1, grey) == pytest.approx(20 * np.log10(255))
    assert psnr(grey, grey) == BEST_PSNR
    assert psnr(np.zeros_like(grey), np.full_like(grey, 255)) == 0


def test_psnr_and_ssim_agree_with_scikit_image_and_fall_with_noise(grey):
    metrics = pytest.importorskip("skimage.metrics")
    image = render(make_example(SceneSettings(1), 0)[0])
    copies = [noisy(image, deviation) for deviation in (2, 8, 32)]
    for copy in copies:
        assert psnr(copy, image) == pytest.approx(metrics.peak_signal_noise_ratio(image, copy, data_range=255))
    values = [ssim(copy, image) for copy in copies]
    assert ssim(image, image) == pytest.approx(1) and 1 > values[0] > values[1] > values[2] > 0


def test_difference_is_in_levels_and_does_not_wrap_around(grey):
    assert difference(grey, grey + 10) == difference(grey + 10, grey) == 10


@pytest.mark.parametrize(
    "right, total, low, high",  # from scipy.stats.binomtest(right, total).proportion_ci(method="wilson")
    [(0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (1, 2, 0.094531, 0.905469), (90, 100, 0.825633, 0.944774)],
)
def test_wilson_interval(right, total, low, high):
    assert wilson(right, total) == pytest.approx((low, high), abs=1e-5)


def test_spread():
    assert spread([3, 1, 5]) == {"mean": 3, "least": 1, "largest": 5}


def test_score_rows_carry_share_interval_and_chance():
    scenes = [make_example(SceneSettings(40, split="test"), index)[0] for index in range(40)]
    rows = score_rows([read(render(scene)) for scene in scenes], scenes)
    row = find_row(rows, 2, "place")
    assert row["share"] == 1 and row["right"] == row["total"] == sum(len(scene.items) == 2 for scene in scenes)
    assert row["interval"] == pytest.approx(wilson(row["total"], row["total"])) and row["interval"][0] < 1
    assert 0 < row["chance"] < 0.5
    assert find_row(rows, 3, "place") is None


def test_retrieval_finds_its_own_and_counts_equal_captions_as_found():
    captions = ["a", "b", "c", "d"]
    ways = retrieve(np.eye(4), 7 * np.eye(4), captions)["ways"]
    assert {name: way["right"] for name, way in ways.items()} == {"text to image": 4, "image to text": 4}
    assert ways["text to image"]["chance"] == 0.25

    # Texts 0 and 1 each find the other's picture; texts 2 and 3 both find picture 2
    swapped = np.eye(4)[[1, 0, 2, 2]]
    assert retrieve(swapped, np.eye(4), captions)["ways"]["text to image"]["right"] == 1
    assert retrieve(swapped, np.eye(4), ["a", "a", "c", "d"])["ways"]["text to image"]["right"] == 3


def test_retrieval_of_unrelated_embeddings_is_at_chance():
    texts, images = np.random.default_rng(0).normal(size=(2, 400, 8))
    for way in retrieve(texts, images, [str(index) for index in range(400)])["ways"].values():
        assert way["right"] <= 6 and way["chance"] == 1 / 400  # one is expected; more than 6 in one case of 10000


def test_tables_are_aligned_markdown():
    lines = markdown_table(("name", "share"), [("all", percent(0.5)), ("none", percent(None))]).splitlines()
    assert lines[1] == "| :--- | ----: |" and len({len(line) for line in lines}) == 1
    assert lines[2] == "| all  | 50.0% |" and lines[3].endswith("    - |")
