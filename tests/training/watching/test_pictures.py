"""Pictures of a run on their own: kept, made again, and never the end of a run; random generators are put back."""

import random
from contextlib import nullcontext

import numpy as np
import paddle
import pytest

from ldm.training.checkpoints.rng_state import preserved_rng_state
from ldm.training.watching import pictures as looks
from ldm.training.watching.pictures import Pictures, base_column


def test_a_base_of_something_else_is_not_taken_for_it(tmp_path):
    def column(settings, value):
        pictures = Pictures("t", ["a"], lambda: [np.full((8, 8, 3), value, np.uint8)], settings)
        return base_column(pictures, tmp_path)[0].max()

    assert column({"size": 1}, 10) == 10
    assert column({"size": 1}, 20) == 10
    assert column({"size": 2}, 30) == 30
    (tmp_path / "preview_00.png").write_bytes(b"cut off")
    assert column({"size": 2}, 40) == 40


def test_pictures_that_cannot_be_made_do_not_end_a_run(tmp_path):
    def fail():
        raise FloatingPointError("Stage C, step 1 of 1: the latent is not finite")

    pictures = Pictures("t", ["a", "b"], fail, {})
    assert pictures.made() == [None, None] == base_column(pictures, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [FloatingPointError("NaN"), OSError("gone"), MemoryError()], ids=repr)
@pytest.mark.parametrize("using_fails", [False, True])
def test_whatever_pictures_fail_by_is_a_warning_and_a_grey_cell(tmp_path, monkeypatch, error, using_fails):
    def fail():
        raise error

    def make():
        return fail() if not using_fails else None

    warnings = []
    monkeypatch.setattr(looks.logger, "warning", warnings.append)
    pictures = Pictures("t", ["a", "b"], make, {}, using=fail if using_fails else nullcontext)
    with pictures.opened() as made:
        assert made() == [None, None] == made()
    assert warnings and all(text.startswith("No preview pictures: ") and text[-2:] != ": " for text in warnings)
    sheet = looks.sheet_of(pictures, base_column(pictures, tmp_path), 2, {"step 2": [None, None]})
    assert not list(tmp_path.iterdir()) and (sheet == 200).mean() > 0.3  # grey cells that say so, and no black picture


def test_an_error_in_the_code_of_pictures_is_not_hidden():
    with pytest.raises(TypeError):
        Pictures("t", ["a"], lambda: None, {}).made()


def test_a_disk_that_does_not_take_a_picture_does_not_end_a_run(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    warnings = []
    monkeypatch.setattr(looks.logger, "warning", warnings.append)
    monkeypatch.setattr(looks, "save_png", full)
    black = np.zeros((8, 8, 3), np.uint8)  # of finite numbers: a picture like any other
    assert base_column(Pictures("t", ["a"], lambda: [black], {}), tmp_path) == [black]
    assert "preview_00.png is not written" in warnings[0] and "No space left" in warnings[0]


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) - 40], lambda raw: raw[:60], lambda raw: b"", bytes.upper]
)
def test_a_damaged_base_is_made_again(tmp_path, damage):
    made = []
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pictures = Pictures("t", ["a"], lambda: made.append(1) or [pixels], {"size": 1})
    base_column(pictures, tmp_path)
    path = tmp_path / "preview_00.png"
    path.write_bytes(damage(path.read_bytes()))
    assert np.array_equal(base_column(pictures, tmp_path)[0], pixels) and len(made) == 2
    assert np.array_equal(base_column(pictures, tmp_path)[0], pixels) and len(made) == 2


def test_random_generators_are_put_back():
    def draw():
        return random.random(), float(np.random.rand()), float(paddle.rand([1]))

    with preserved_rng_state():
        first = draw()
    assert draw() == first
