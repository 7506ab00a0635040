"""Curves are drawn from what the Trainer saved, of finished and of stopped runs."""

import json

import pytest
from PIL import Image

from ldm.training.watching.curves import labels, noise_level_losses_of, plot_runs, read_history, series

HISTORY = [{"loss": 1.0, "global_step": 1}, {"fixed_loss": 0.5, "global_step": 1}, {"loss": 0.7, "global_step": 2}]


def write(folder, history=HISTORY):
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"log_history": history}))


def test_series_are_told_apart():
    assert series(HISTORY, "loss") == ([1, 2], [1.0, 0.7])
    assert series(HISTORY, "fixed_loss") == ([1], [0.5])


def test_a_stopped_run_is_read_from_its_last_checkpoint(tmp_path):
    write(tmp_path / "run" / "checkpoint-5", HISTORY[:1])
    write(tmp_path / "run" / "checkpoint-10")
    assert read_history(tmp_path / "run") == HISTORY


def test_a_panel_per_run(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    plot_runs([tmp_path / "one"], tmp_path / "one.png")
    plot_runs([tmp_path / "one", tmp_path / "two"], tmp_path / "both.png")
    one, both = (Image.open(tmp_path / name) for name in ("one.png", "both.png"))
    assert both.width == pytest.approx(2 * one.width, abs=2) and both.height == one.height
    assert len(set(one.convert("L").getdata())) > 20


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    assert labels([tmp_path / "a" / "run", tmp_path / "b"]) == ["run", "b"]
    write(tmp_path / "a" / "run")
    write(tmp_path / "b" / "run")
    both = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert labels(both) == [str(run) for run in both]
    plot_runs(both, tmp_path / "both.png")
    plot_runs(both[:1], tmp_path / "one.png")
    assert Image.open(tmp_path / "both.png").width > 1.9 * Image.open(tmp_path / "one.png").width


def test_losses_by_noise_level_have_a_panel_below(tmp_path):
    levels = [{"loss_t00_10": 1.0 / step, "loss_t90_100": 0.1, "global_step": step} for step in (1, 2)]
    write(tmp_path / "plain")
    write(tmp_path / "levels", [*HISTORY, *levels])
    assert noise_level_losses_of(read_history(tmp_path / "levels")) == ["loss_t00_10", "loss_t90_100"]
    plot_runs([tmp_path / "plain"], tmp_path / "plain.png")
    plot_runs([tmp_path / "plain", tmp_path / "levels"], tmp_path / "both.png")
    plain, both = (Image.open(tmp_path / name) for name in ("plain.png", "both.png"))
    assert both.height == pytest.approx(2 * plain.height, abs=2)
    lower = both.crop((both.width // 2, both.height // 2, both.width, both.height)).convert("RGB")
    assert any(max(pixel) - min(pixel) > 60 for pixel in lower.getdata())  # coloured lines


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="trainer_state.json"):
        read_history(tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_history(tmp_path / "nothing")
