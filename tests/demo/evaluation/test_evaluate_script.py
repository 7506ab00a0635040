"""scripts/evaluate_scenes.py as users call it, on the rule-filled release: its scores mean nothing, its files do."""

import json
import sys

import evaluate_scenes
import numpy as np
import pytest
from PIL import Image
from spoiled import spoiled_release

from ldm.demo.evaluation import grid, judge
from ldm.demo.evaluation.settings import PARTS, EvaluationSettings

SMALL = ["--count", "4", "--steps", "2", "--decoder_steps", "1", "--grid_count", "2", "--size", "256"]
# The rule-filled towers have different widths, which skips the part: see test_parts.py for what it does otherwise


def evaluate(*arguments) -> int:
    return evaluate_scenes.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(rule_release, tmp_path_factory):
    """The output of one run over all parts, with two of the grid's twelve cells: test_parts.py asks for all."""
    pytest.importorskip("skimage.metrics")
    folder = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid, "CFGS", (1.0, 2.0))
        patch.setattr(grid, "STEPS", (2,))
        assert evaluate("--weights", rule_release, "--output_dir", folder, *SMALL) == 0
    return folder


def test_all_parts_are_measured_and_written(folder):
    document = json.loads((folder / "results.json").read_text())
    assert tuple(document["parts"]) == PARTS
    assert "text_encoder/model.safetensors" in document["weights"]["files"] and len(document["weights"]["sha256"]) == 64
    for record in document["parts"].values():
        assert record["settings"]["count"] == 4 and record["device"].startswith("cpu") and record["seconds"] >= 0
        assert "paddlepaddle" in record["versions"] and record["dtype"] == "float32"
    results = {name: record["result"] for name, record in document["parts"].items()}
    assert all(row["share"] == 1 for row in results["judge"]["scores"])
    assert sum({row["objects"]: row["total"] for row in results["prompts"]["scores"]}.values()) == 4
    assert len(results["grid"]["cells"]) == 2
    assert results["reconstruction"]["likeness"]["stage_a"]["psnr"]["mean"] > 0
    assert results["previewer"]["side"] == 48
    assert "48" in results["clip"]["skipped"] and "32" in results["clip"]["skipped"]
    assert results["seeds"]["same_seed_same_bytes"] and results["seeds"]["difference"]["other_seed"]["least"] > 0


def test_the_report_shows_every_part(folder):
    report = (folder / "results.md").read_text()
    assert all(f"(`{name}`)" in report for name in PARTS)
    assert "| place" in report and "sha256" in report and str(folder) not in report


def test_pictures_and_verdicts_are_kept(folder):
    sizes = {"prompts.png": 4, "reconstruction.png": 4, "previewer.png": 4}
    for name, columns in sizes.items():
        with Image.open(folder / name) as image:
            side = 48 if name == "previewer.png" else 256
            assert image.width == columns * (side + 4) - 4 and image.height >= side
    assert len((folder / "prompts.jsonl").read_text().splitlines()) == 4
    with Image.open(folder / "reconstruction.png") as image:  # the true pictures are on top
        top = np.asarray(image)[:256, :256]
    assert len(np.unique(top.reshape(-1, 3), axis=0)) < 2000 and not list(folder.glob(".*"))


def test_a_run_over_some_parts_leaves_the_others(folder, rule_release, capsys):
    before = json.loads((folder / "results.json").read_text())["parts"]
    options = ["--weights", rule_release, "--output_dir", folder, "--count", 6, "--parts", "judge", "--size", "256"]
    assert evaluate(*options) == 0
    after = json.loads((folder / "results.json").read_text())["parts"]
    assert after.pop("judge")["settings"]["count"] == 6 and before.pop("judge") and after == before
    assert "# The judge" in capsys.readouterr().out


def test_a_judge_that_fails_stops_everything_with_status_1(rule_release, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judge, "LEAST_RIGHT", 1.1)
    assert evaluate("--weights", rule_release, "--output_dir", tmp_path, *SMALL) == 1
    assert (
        capsys.readouterr().err.strip().splitlines()[-1].startswith("evaluate_scenes.py: The judge cannot be trusted")
    )
    assert list(json.loads((tmp_path / "results.json").read_text())["parts"]) == ["judge"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--count", "0"], "--count 0"),
        (["--grid_count", "-1"], "--grid_count -1"),
        (["--batch_size", "0"], "--batch_size 0"),
        (["--steps", "0"], "--steps 0"),
        (["--size", "128"], "--size 128"),
        (["--size", "260"], "multiple of 8"),
        (["--size", "4096"], "4096"),
        (["--seed", "-1"], "--seed -1"),
        (["--scene_seed", "-1"], "--scene_seed -1"),
        (["--cfg", "nan"], "--cfg nan"),
        (["--steps", "1000000000"], "--steps 1000000000"),
        (["--batch_size", "1000000000"], "--batch_size 1000000000"),
        (["--decoder_cfg", "1e30"], "--decoder_cfg 1e30"),
        (["--size", "65536"], "height 65536 is above the maximum of 16384"),
        (["--parts", "judge", "taste"], "'taste' is unknown: choose from judge, prompts"),
        (["--weights", "nowhere"], "weights folder nowhere does not exist"),
        (["--prior_weights", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_values_are_one_line_and_status_2(rule_release, tmp_path, capsys, arguments, message):
    parts = [] if "--parts" in arguments else ["--parts", "judge"]
    assert evaluate("--weights", rule_release, "--output_dir", tmp_path, *parts, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.strip().splitlines()) == 1
    assert captured.err.startswith("evaluate_scenes.py: ") and message in captured.err
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"count": 0}, "--count must be at least 1"),
        ({"batch_size": 10**9}, "--batch_size must be at most 4096"),
        ({"steps": 2.5}, "--steps must be an integer"),
        ({"cfg": float("nan")}, "--cfg must be a finite number"),
        ({"scene_seed": -1}, "--scene_seed must not be negative"),
    ],
    ids=str,
)
def test_settings_are_checked_without_a_command_line_too(change, message):
    with pytest.raises(ValueError, match=message):
        EvaluationSettings(**change).check()


def test_without_scikit_image_the_part_that_needs_it_is_refused(rule_release, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "skimage", None)
    assert evaluate("--weights", rule_release, "--output_dir", tmp_path, *SMALL) == 2
    assert "requirements-test.txt" in capsys.readouterr().err


def test_help_names_the_parts(capsys):
    with pytest.raises(SystemExit) as done:
        evaluate("--help")
    out = capsys.readouterr().out
    assert done.value.code == 0 and all(name in out for name in PARTS)


def test_without_weights_the_demo_is_measured(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("ldm.config.WEIGHTS_PATH", str(tmp_path / "models"))
    assert evaluate("--parts", "judge", "--count", "4", "--output_dir", tmp_path) == 0
    assert "using the bundled demo model" in capsys.readouterr().out


@pytest.mark.parametrize(
    "part, name, key, where",
    [
        ("previewer", "effnet_encoder.safetensors", "mapper.0.weight", "EfficientNet encoder: the latent of a picture"),
        ("reconstruction", "stage_a.safetensors", "out_block.0.bias", "Stage A: the decoded image"),
        ("previewer", "previewer.safetensors", "blocks.24.bias", "Previewer: the preview"),
        ("words", "stage_c_lite.safetensors", "clf.1.bias", "Stage C: its prediction"),
        (
            "prompts",
            "text_encoder/model.safetensors",
            "text_projection.weight",
            "Text encoder: the captions' embedding",
        ),
    ],
)
def test_nothing_is_measured_of_nan(rule_release, tmp_path, capsys, part, name, key, where):
    pytest.importorskip("skimage.metrics")
    release = spoiled_release(rule_release, tmp_path / "release", name, key, np.nan, every=True)
    assert evaluate("--weights", release, "--output_dir", tmp_path / "out", *SMALL, "--parts", part) == 2
    error = capsys.readouterr().err
    assert f"{where} is not finite" in error and f"{release / name}: {key} is not finite" in error
    assert not list((tmp_path / "out").iterdir())


def test_an_embedding_of_nan_is_nobodys_neighbour():
    from types import SimpleNamespace

    import paddle

    from ldm.demo.evaluation.retrieval import text_embeds

    text = SimpleNamespace(encode=lambda captions: (None, paddle.full([len(captions), 1, 4], np.nan)))
    with pytest.raises(FloatingPointError, match="CLIP's text tower: an embedding is not finite .* because"):
        text_embeds(SimpleNamespace(text=text, blame=lambda kind: "because"), ["a", "b"], [slice(0, 2)])


def test_a_measurement_of_nan_is_not_written(tmp_path):
    from ldm.demo.evaluation.results import open_results, save_results

    with pytest.raises(FloatingPointError, match="results.json is not written: a number that words has measured"):
        save_results(tmp_path, {"weights": {}, "parts": {"judge": 1.0, "words": float("nan")}}, "")
    assert not list(tmp_path.iterdir())
    (tmp_path / "results.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="results.json cannot be read .*nested too deeply.*remove it"):
        open_results(tmp_path, {"sha256": ""}, [])


def test_memory_is_forecast_before_the_weights_are_read(rule_release, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ldm.demo.evaluation.suite.StableCascade", None)
    monkeypatch.setattr("ldm.demo.evaluation.suite.available", lambda: 1000)
    assert evaluate("--weights", rule_release, "--output_dir", tmp_path, *SMALL, "--parts", "prompts") == 2
    assert "A batch of 4 at 256 x 256 pixels needs" in capsys.readouterr().err
