"""The bundled demo model: complete, small enough, used where no other weights are, and its pictures follow captions."""

import os
import subprocess

import pytest
from helpers import ROOT

from ldm import config
from ldm.demo.scenes.checker import check
from ldm.demo.scenes.dataset import SceneSettings, make_example
from ldm.frozen import open_release
from ldm.pipeline import GenerationSettings, StableCascade, native_size
from ldm.weights import bundled
from ldm.weights.bundled import DEMO, weights_folder

MOST_BYTES = 40e6


def test_missing_default_weights_mean_the_demo_and_say_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(config, "WEIGHTS_PATH", str(tmp_path / "models"))
    assert weights_folder() == DEMO and weights_folder(config.WEIGHTS_PATH) == DEMO
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("demo model" in line and "official weights" in line for line in lines)


def test_existing_weights_and_named_folders_are_never_replaced(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(config, "WEIGHTS_PATH", str(tmp_path))
    assert weights_folder() == tmp_path
    assert weights_folder(tmp_path / "elsewhere") == tmp_path / "elsewhere"
    assert capsys.readouterr().out == ""
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        open_release(tmp_path / "elsewhere")


def test_without_a_demo_a_missing_default_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(config, "WEIGHTS_PATH", str(tmp_path / "models"))
    monkeypatch.setattr(bundled, "DEMO", tmp_path / "no_demo")
    with pytest.raises(FileNotFoundError, match="models"):
        open_release()


def test_the_demo_is_complete_small_and_in_half_precision():
    from ldm.weights.files import TensorFile

    files = [path for path in DEMO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_BYTES
    names = {str(path.relative_to(DEMO)) for path in files if path.suffix == ".safetensors"}
    assert names == {
        "stage_a.safetensors", "stage_b_lite.safetensors", "stage_c_lite.safetensors", "effnet_encoder.safetensors",
        "previewer.safetensors", "text_encoder/model.safetensors", "image_encoder/model.safetensors",
    }  # fmt: skip
    for name in names:
        with TensorFile(DEMO / name) as file:
            floats = {dtype for dtype in file.dtypes.values() if dtype != "I64"}  # counters of BatchNorms
            assert floats == {"F16"}, name
    assert native_size(DEMO) == 384


def test_pictures_follow_their_captions():
    """Eight held-out prompts of one object: nearly all backgrounds and colours are right; by chance 4 % and 8 % are."""
    examples = [make_example(SceneSettings(64, 384, 11, "test"), index) for index in range(64)]
    scenes = [scene for scene, _ in examples if len(scene.items) == 1][:8]
    captions = [text for scene, text in examples if scene in scenes][:8]
    settings = GenerationSettings(384, 384, seed=0)
    images = StableCascade(DEMO)(captions, len(captions), settings, progress=False)
    verdicts = [check(image, scene) for image, scene in zip(images, scenes)]
    assert sum(verdict.background for verdict in verdicts) >= 6
    assert sum(verdict.colour for verdict in verdicts) >= 6


def test_the_recipe_refuses_an_unknown_stage_before_it_begins(tmp_path):
    env = {**os.environ, "WORK": str(tmp_path / "work")}
    command = ["sh", "scripts/train_demo_cascade.sh", "data", "stage_x"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 2 and "no stage stage_x" in done.stderr
    assert not (tmp_path / "work").exists()
