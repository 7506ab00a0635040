"""Folders of scenes: the same bytes twice, resumed after a stop, refused when something does not fit."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import make_scene_dataset
import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from ldm.data.sources.pairs import PairFolder
from ldm.demo.scenes.checker import check
from ldm.demo.scenes.dataset import SceneSettings, read_scenes, scene_name, write_scenes
from ldm.demo.scenes.sampling import held_out


def contents(folder) -> dict:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()
    }


def run(capsys, *arguments):
    """(exit status, error lines without the progress bar) of the script."""
    status = make_scene_dataset.main([str(argument) for argument in arguments])
    return status, [line for line in capsys.readouterr().err.splitlines() if "image/s" not in line and line]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "test"
    assert make_scene_dataset.main(["--output", str(folder), "--count", "24", "--split", "test", "--seed", "5"]) == 0
    return folder


def test_the_folder_is_an_image_text_dataset(folder):
    pairs = PairFolder(folder)
    scenes = read_scenes(folder)
    assert list(scenes) == [scene_name(index) for index in range(24)]
    assert [pairs.path(index) for index in range(len(pairs))] == [folder / f"{name}.png" for name in scenes]
    for index, (scene, caption) in enumerate(scenes.values()):
        image = np.asarray(Image.open(pairs.path(index)))
        assert image.shape == (128, 128, 3) and pairs.caption(index) == caption
        assert check(image, scene).all and held_out(scene)
        assert len(re.findall("small|little|medium|large|big", caption.replace("medium-sized", "medium"))) == len(
            scene.items
        )


def test_names_fill_folders_of_a_thousand():
    assert [scene_name(index) for index in (0, 999, 1000, 123456)] == [
        "000/000000",
        "000/000999",
        "001/001000",
        "123/123456",
    ]


def test_the_same_bytes_twice_and_from_several_processes(folder, tmp_path, capsys):
    assert run(capsys, "--output", tmp_path / "a", "--count", 24, "--split", "test", "--seed", 5)[0] == 0
    assert (
        run(capsys, "--output", tmp_path / "b", "--count", 24, "--split", "test", "--seed", 5, "--workers", 2)[0] == 0
    )
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(folder)
    assert run(capsys, "--output", tmp_path / "c", "--count", 24, "--split", "test", "--seed", 6)[0] == 0
    assert not set(contents(tmp_path / "c").values()) & set(contents(folder).values())


def test_a_stopped_run_goes_on_and_keeps_what_is_there(folder, tmp_path):
    def stop_after_ten(lines):
        for index, line in enumerate(lines):
            if index == 10:
                raise KeyboardInterrupt
            yield line

    settings = SceneSettings(24, seed=5, split="test")
    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, settings, progress=stop_after_ten)
    begun = contents(tmp_path)
    assert 20 <= len(begun) < 26 and "scenes.jsonl" not in begun and not any(name.endswith(".part") for name in begun)
    with pytest.raises(FileNotFoundError, match="scenes.jsonl does not exist"):
        read_scenes(tmp_path)
    stamp = (tmp_path / "000" / "000003.png").stat().st_mtime_ns
    (tmp_path / "000" / "000004.txt").unlink()
    write_scenes(tmp_path, settings)
    assert contents(tmp_path) == contents(folder)
    assert (tmp_path / "000" / "000003.png").stat().st_mtime_ns == stamp


def test_a_larger_count_extends_the_folder(folder, tmp_path, capsys):
    assert run(capsys, "--output", tmp_path, "--count", 6, "--split", "test", "--seed", 5)[0] == 0
    assert len(PairFolder(tmp_path)) == len(read_scenes(tmp_path)) == 6
    assert run(capsys, "--output", tmp_path, "--count", 24, "--split", "test", "--seed", 5)[0] == 0
    assert contents(tmp_path) == contents(folder)


def test_training_captions_leave_things_out_and_pictures_have_the_size(tmp_path, capsys):
    assert run(capsys, "--output", tmp_path, "--count", 40, "--size", 64)[0] == 0
    lines = [json.loads(line) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()]
    assert not any(line["held_out"] for line in lines)
    assert any(not re.search("small|little|medium|large|big", line["caption"]) for line in lines)
    assert Image.open(tmp_path / "000" / "000039.png").size == (64, 64)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--count", 0), "--count 0: must be a whole number from 1 to"),
        (("--count", -3), "count -3"),
        (("--count", 2000000), "count 2000000"),
        (("--count", 3, "--size", 63), "size 63 is out of range: 64 to"),
        (("--count", 3, "--size", 99999), "size 99999"),
        (("--count", 3, "--seed", -1), "--seed -1: must be a whole number"),
        (("--count", 3, "--workers", 0), "--workers 0: must be a whole number"),
    ],
)
def test_bad_values_are_refused_in_one_line(tmp_path, capsys, arguments, message):
    status, errors = run(capsys, "--output", tmp_path / "new", *arguments)
    assert status == 2 and len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("--seed", 6, "seed 5, not 6"),
        ("--size", 64, "size 128, not 64"),
        ("--split", "train", "split test, not train"),
        ("--count", 23, "count 24, not 23"),
    ],
)
def test_a_folder_of_other_settings_is_refused_and_kept(folder, capsys, option, value, message):
    before = contents(folder)
    arguments = {"--count": 24, "--split": "test", "--seed": 5} | {option: value}
    status, errors = run(capsys, "--output", folder, *(part for pair in arguments.items() for part in pair))
    assert status == 2 and len(errors) == 1 and message in errors[0]
    assert contents(folder) == before


@pytest.mark.parametrize("text", ["", "{", '{"count": 3, "colour": "red"}', '{"count": 0}'])
def test_damaged_settings_are_refused_in_one_line(tmp_path, capsys, text):
    (tmp_path / "dataset.json").write_text(text)
    status, errors = run(capsys, "--output", tmp_path, "--count", 3)
    assert status == 2 and len(errors) == 1 and "dataset.json cannot be read" in errors[0]


def test_a_folder_of_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    status, errors = run(capsys, "--output", tmp_path, "--count", 3)
    assert status == 2 and "not empty" in errors[0] and list(contents(tmp_path)) == ["holiday.jpg"]
    (tmp_path / "file").write_text("")
    status, errors = run(capsys, "--output", tmp_path / "file", "--count", 3)
    assert status == 2 and len(errors) == 1


def test_the_pictures_to_fine_tune_on_are_what_is_drawn_today(tmp_path):
    kept = ROOT / "assets" / "houses"
    write_scenes(tmp_path / "houses", SceneSettings(**json.loads((kept / "dataset.json").read_text())))
    drawn, committed = contents(tmp_path / "houses"), contents(kept)
    assert drawn.keys() == committed.keys()
    for name in drawn:
        if name.endswith(".png"):  # another version of the PNG library may compress otherwise
            assert np.array_equal(
                np.asarray(Image.open(tmp_path / "houses" / name)), np.asarray(Image.open(kept / name))
            )
        else:
            assert drawn[name] == committed[name]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_program_and_leave_the_word_to_it(tmp_path, number):
    command = [sys.executable, "scripts/make_scene_dataset.py", "--output", tmp_path / "new", "--count", "1000000"]
    command += ["--workers", "2", "--size", "256"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT, "start_new_session": True}
    restore = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(list(map(str, command)), **pipes, **restore) as process:
        try:
            while len(list((tmp_path / "new").rglob("*.txt"))) < 20:
                assert process.poll() is None
                time.sleep(0.1)
            (os.kill if number == signal.SIGKILL else os.killpg)(process.pid, number)  # a terminal's goes to all
            _, errors = process.communicate(timeout=300)  # until the last of them has ended: they hold its output
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert "Traceback" not in errors and "Process" not in errors
