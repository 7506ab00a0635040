"""inference.py as users call it: files, names, metadata, captions from files, and each bad input's own error."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image
from spoiled import spoil

import inference
from ldm.images import read_settings

QUICK = ["--height", "300", "--width", "260", "--steps", "2", "--decoder_steps", "1"]


def run(capsys, release, output, *flags):
    """Exit code and error text of one call."""
    code = inference.main(["--weights", str(release), "--output_dir", str(output), *QUICK, *flags])
    return code, capsys.readouterr().err


def test_images_are_numbered_sized_and_self_describing(capsys, rule_release, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("a red fox\n\na lighthouse, café\n", encoding="utf-8")
    code, _ = run(
        capsys, rule_release, tmp_path / "out", "--caption", str(captions), "a boat", "--batch_size", "2", "--seed", "5"
    )
    assert code == 0
    files = sorted((tmp_path / "out").iterdir())
    assert [file.name for file in files] == [f"result_{i}.png" for i in range(6)]
    for index, file in enumerate(files):
        with Image.open(file) as image:
            assert image.size == (260, 300)
        settings = read_settings(file)
        assert settings["caption"] == ["a red fox", "a lighthouse, café", "a boat"][index // 2]
        assert settings["seed"] == 5 + index % 2 and settings["steps"] == 2 and settings["height"] == 300


def test_an_image_is_made_again_from_its_metadata(capsys, rule_release, tmp_path):
    run(capsys, rule_release, tmp_path / "batch", "--caption", "a fox", "--batch_size", "2", "--seed", "3")
    settings = read_settings(tmp_path / "batch" / "result_1.png")
    run(capsys, rule_release, tmp_path / "single", "--caption", settings["caption"], "--seed", str(settings["seed"]))
    batch, single = (
        np.asarray(Image.open(tmp_path / name), np.int16) for name in ("batch/result_1.png", "single/result_0.png")
    )
    # A batch of another size may round the last bit of float32 differently: at most one step of a byte
    assert np.abs(batch - single).max() <= 1
    other = np.asarray(Image.open(tmp_path / "batch" / "result_0.png"), np.int16)
    assert np.abs(other - batch).mean() > 5


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--batch_size", "0"], "--batch_size 0: must be a whole number from 1 to"),
        (["--height", "200"], "height 200 is below the minimum of 256"),
        (["--width", "255"], "width 255 is below the minimum"),
        (["--steps", "0"], "--steps 0: must be a whole number from 1 to 10000"),
        (["--decoder_steps", "-1"], "--decoder_steps -1: must be a whole number"),
        (["--seed", "-1"], "--seed -1: must be a whole number from 0 to"),
        (["--seed", "99999999999999999999999"], "--seed 99999999999999999999999"),
        (["--height", "30000000"], "--height 30000000"),
        (["--batch_size", str(10**9)], "--batch_size 1000000000"),
        (["--steps", str(10**9)], "--steps 1000000000: must be a whole number from 1 to 10000"),
        (["--decoder_steps", str(10**9)], "--decoder_steps 1000000000"),
        (["--cfg", "nan"], "--cfg nan"),
        (["--decoder_cfg", "inf"], "--decoder_cfg inf"),
        (["--cfg=-1e9"], "--cfg -1e9"),
        (
            ["--prior_weights", "assets/demo"],
            "assets/demo is a folder, and a file is needed: give one of assets/demo/eff",
        ),
        (["--lora", "assets/demo"], "assets/demo is a folder, and a file is needed"),
        (["--lora", "tests"], "tests is a folder, and a file is needed: it has no safetensors file"),
        (["--weights", "config.py"], "config.py is a file, and the folder of a release is needed: give ."),
        (["--dtype", "float16"], "float16 needs a GPU"),
        (["--dtype", "bfloat16"], "bfloat16 needs a GPU"),
        (["--caption", "missing.txt"], "missing.txt does not exist"),
        (["--prior_weights", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["--lora", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["--lora_scale", "0.5"], "--lora_scale is for --lora"),
        (["--low_memory", "--lora", __file__], "--low_memory does not go with --lora"),
        (["--low_memory", "--prior_weights", "nowhere.safetensors"], "nowhere.safetensors does not exist"),
        (["--lora", "a", "b", "c", "--lora_scale", "1", "2"], "--lora_scale has 2 values for 3"),
        (["--weights", "no/such/folder"], "no/such/folder does not exist"),
    ],
)
def test_refused_options(capsys, rule_release, tmp_path, flags, message):
    code, error = run(capsys, rule_release, tmp_path / "out", "--caption", "x", *flags)
    assert code == 2 and message in error
    assert error.startswith("inference.py: ") and "Traceback" not in error
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_empty_caption_file(capsys, rule_release, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    code, error = run(capsys, rule_release, tmp_path, "--caption", str(tmp_path / "empty.txt"))
    assert code == 2 and "empty.txt is empty" in error


def test_output_that_cannot_be_written(capsys, rule_release, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, error = run(capsys, rule_release, tmp_path / "file", "--caption", "x")
    assert code == 2 and "Cannot write to the output folder" in error and "--output_dir" in error


def broken_release(rule_release, folder, name, change):
    """A copy of the release (links where unchanged) with one file rewritten by `change(bytes)`."""
    folder.mkdir()
    for entry in rule_release.iterdir():
        os.symlink(entry, folder / entry.name)
    content = (rule_release / name).read_bytes()
    (folder / name).unlink()
    (folder / name).write_bytes(change(content))
    return folder


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("stage_c_lite.safetensors", lambda content: content[: len(content) // 2], "not a complete safetensors file"),
        ("stage_c_lite.safetensors", lambda content: b"PK\x03\x04 something else", "not a complete safetensors file"),
        ("stage_a.safetensors", lambda content: content[:-8], "not a complete safetensors file"),
    ],
)
def test_damaged_files(capsys, rule_release, tmp_path, name, change, message):
    release = broken_release(rule_release, tmp_path / "release", name, change)
    code, error = run(capsys, release, tmp_path / "out", "--caption", "x")
    assert code == 2 and message in error and name in error


def test_the_wrong_network_in_a_file(capsys, rule_release, tmp_path):
    other = (rule_release / "stage_b_lite.safetensors").read_bytes()
    release = broken_release(rule_release, tmp_path / "release", "stage_c_lite.safetensors", lambda content: other)
    code, error = run(capsys, release, tmp_path / "out", "--caption", "x")
    assert code == 2 and "stage_c_lite.safetensors holds stage_b, not stage_c" in error


def test_a_missing_file_is_named(capsys, rule_release, tmp_path):
    release = broken_release(rule_release, tmp_path / "release", "stage_c_lite.safetensors", lambda content: content)
    (release / "stage_c_lite.safetensors").unlink()
    code, error = run(capsys, release, tmp_path / "out", "--caption", "x")
    assert code == 2 and "stage_c_lite.safetensors" in error and "version 1B" in error


def test_nan_latents_are_an_error_not_a_black_image(capsys, rule_release, tmp_path):
    """Weights with one infinity: the error names stage, file and tensor, and no picture is written."""
    damaged = tmp_path / "damaged.safetensors"
    shutil.copyfile(rule_release / "stage_c_lite.safetensors", damaged)
    spoil(damaged, "clf.1.bias", np.inf)
    code, error = run(capsys, rule_release, tmp_path / "out", "--caption", "x", "--prior_weights", str(damaged))
    assert code == 2 and "Stage C, step 1 of 2: the latent is not finite" in error
    assert f"{damaged}: clf.1.bias is not finite: download or convert it again." in error
    assert not list((tmp_path / "out").iterdir())


def test_a_converted_release_gives_the_same_image(capsys, rule_release, tmp_path):
    import convert_other_weight
    import convert_unet_weight

    for script in (convert_unet_weight, convert_other_weight):
        assert script.main(["--input", str(rule_release), "--output", str(tmp_path / "converted")]) == 0
    for name, release in (("official", rule_release), ("paddle", tmp_path / "converted")):
        assert run(capsys, release, tmp_path / name, "--caption", "a fox")[0] == 0
    images = [np.asarray(Image.open(tmp_path / name / "result_0.png")) for name in ("official", "paddle")]
    assert np.array_equal(*images)
    shutil.rmtree(tmp_path / "converted")


def test_a_lora_changes_the_image_and_is_noted_in_it(capsys, rule_release, tmp_path):
    from test_pipeline import write_lora_of

    from ldm.pipeline import StableCascade

    path = write_lora_of(StableCascade(rule_release), tmp_path / "lora.safetensors")
    flags = {"plain": [], "half": ["--lora", str(path), "--lora_scale", "0.5"], "whole": ["--lora", str(path)]}
    images = {}
    for name, more in flags.items():
        assert run(capsys, rule_release, tmp_path / name, "--caption", "a fox", *more)[0] == 0
        images[name] = np.asarray(Image.open(tmp_path / name / "result_0.png"), np.int16)
    assert all(np.abs(images[a] - images[b]).mean() > 1 for a, b in (("plain", "half"), ("half", "whole")))
    assert read_settings(tmp_path / "half" / "result_0.png")["lora"] == [f"{path} x 0.5"]


def test_a_lora_of_another_size_is_refused(capsys, rule_release, tmp_path):
    from ldm.adapters.files import LoraFile, write_lora
    from ldm.adapters.layouts import LowRankUpdate
    from ldm.adapters.lora import find_targets
    from ldm.weights.release import build_unfilled, network_config

    config = network_config(rule_release / "stage_c_lite.safetensors", "stage_c")
    other = build_unfilled("stage_c", {**config, "c_hidden": [32, 32]})
    zeros = {
        target.key: LowRankUpdate(*(np.zeros(shape, "float32") for shape in ((1, c_in), (c_out, 1))), 1.0)
        for target in find_targets(other)
        for c_in, c_out in [target.weight.shape]
    }
    write_lora(tmp_path / "lora.safetensors", LoraFile(zeros), other)
    code, error = run(
        capsys, rule_release, tmp_path / "no", "--caption", "x", "--lora", str(tmp_path / "lora.safetensors")
    )
    assert (
        code == 2 and "weights.0.lora_down (1, 32), expected (1, 64)" in error and "right network and version" in error
    )
    assert not list((tmp_path / "no").glob("*.png"))


def test_preflight_says_what_it_takes_and_stops(capsys, rule_release, tmp_path, monkeypatch):
    monkeypatch.setattr("ldm.pipeline.StableCascade", None)  # nothing is loaded
    code = inference.main(
        ["--weights", str(rule_release), "--output_dir", str(tmp_path), "--caption", "x", "--preflight"]
    )
    out = capsys.readouterr().out
    assert code == 0 and not list(tmp_path.iterdir())
    assert "Before generating:" in out and "text tower 0.2M" in out and "GiB free" in out and "at work" in out


def test_what_memory_is_not_free_for_is_refused_before_anything_is_loaded(capsys, rule_release, tmp_path, monkeypatch):
    monkeypatch.setattr("ldm.pipeline.StableCascade", None)
    monkeypatch.setattr("ldm.generation.preflight.available", lambda: 450 << 20)
    code, error = run(capsys, rule_release, tmp_path, "--caption", "x", "--height", "1024", "--batch_size", "16")
    assert code == 2 and len(error.strip().splitlines()) == 1 and not list(tmp_path.iterdir())
    assert "A batch of 16 at 1024 x 260 pixels needs " in error and "and 0.44 GiB are free: use " in error
    assert "--batch_size 1 (0." in error and "--low_memory (" not in error  # which would not help these small weights


def test_what_the_disk_has_no_room_for_is_refused(capsys, rule_release, tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(10**9, 10**9, 10**6)
    monkeypatch.setattr("ldm.generation.preflight.shutil.disk_usage", lambda folder: usage)
    code, error = run(capsys, rule_release, tmp_path, "--caption", "a", "b", "--batch_size", "3")
    assert code == 2 and f"--output_dir {tmp_path} has 0.00 GiB free, and 6 images of 300 x 260 may take" in error
