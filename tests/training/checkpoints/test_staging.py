"""A checkpoint is complete or it is not taken: lists of files, leftovers of killed runs, rotation."""

import os
import shutil

import pytest

from ldm.training.checkpoints.staging import (
    MANIFEST,
    STAGING,
    checkpoint_folders,
    finish,
    last_complete,
    problem_of,
    rotate,
    stage,
    tidy,
)


def write(folder, step: int, age: int = 0):
    """A finished checkpoint of two files, `age` seconds old."""
    final = folder / f"checkpoint-{step}"
    staged = stage(final) / final.name
    (staged / "sub").mkdir(parents=True)
    (staged / "weights").write_bytes(b"x" * 100)
    (staged / "sub" / "more").write_bytes(b"y" * 10)
    finish(final)
    os.utime(final, (1e9 - age, 1e9 - age))
    return final


def cut(path):
    (path / "weights").write_bytes(b"x" * 99)


def remove(path):
    (path / "sub" / "more").unlink()


def unlist(path):
    (path / MANIFEST).unlink()


@pytest.mark.parametrize(
    "damage, message",
    [(cut, "weights has 99 bytes instead of 100"), (remove, "sub/more is missing"), (unlist, f"no {MANIFEST}")],
)
def test_damaged_checkpoints_are_skipped_by_name(tmp_path, damage, message):
    older, newer = write(tmp_path, 9), write(tmp_path, 10)
    assert problem_of(newer) is None and last_complete(tmp_path) == newer
    damage(newer)
    said = []
    assert last_complete(tmp_path, said.append) == older
    assert len(said) == 1 and str(newer) in said[0] and message in said[0]


def test_checkpoints_without_a_list_count_when_the_last_file_is_complete(tmp_path):
    import paddle

    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    assert last_complete(tmp_path, lambda text: None) is None
    paddle.save({"last_epoch": 3, "last_lr": 0.5}, str(folder / "scheduler.pdparams"))
    assert last_complete(tmp_path) == folder
    content = (folder / "scheduler.pdparams").read_bytes()
    (folder / "scheduler.pdparams").write_bytes(content[:-1])
    assert last_complete(tmp_path, lambda text: None) is None


def test_a_checkpoint_has_no_name_before_it_is_complete(tmp_path):
    final = tmp_path / "checkpoint-5"
    staged = stage(final) / final.name
    staged.mkdir()
    (staged / "weights").write_bytes(b"x")
    assert checkpoint_folders(tmp_path) == []
    finish(final)
    assert checkpoint_folders(tmp_path) == [final] and (final / MANIFEST).is_file() and not staged.exists()


def test_what_a_killed_run_leaves_is_finished_or_removed(tmp_path):
    complete = write(tmp_path, 4)
    os.rename(complete, tmp_path / STAGING / complete.name)  # killed between the list and the name
    half = tmp_path / STAGING / "checkpoint-8"
    half.mkdir()
    (half / "weights").write_bytes(b"x")
    said = []
    tidy(tmp_path, said.append)
    assert checkpoint_folders(tmp_path) == [complete] and problem_of(complete) is None
    assert not (tmp_path / STAGING).exists()
    assert len(said) == 1 and "checkpoint-8" in said[0]


def test_a_replaced_checkpoint_comes_back_if_the_new_one_is_lost(tmp_path):
    final = write(tmp_path, 4)
    os.rename(final, tmp_path / STAGING / "replaced-checkpoint-4")  # killed between the two renames
    tidy(tmp_path)
    assert last_complete(tmp_path) == final


def test_a_checkpoint_is_written_over_an_old_one(tmp_path):
    final = write(tmp_path, 4)
    cut(final)
    assert problem_of(write(tmp_path, 4)) is None


def test_rotation_keeps_the_newest_complete_ones(tmp_path):
    paths = [write(tmp_path, step, age) for step, age in ((1, 50), (2, 40), (3, 30), (4, 20))]
    cut(paths[3])
    rotate(tmp_path, None)
    assert len(checkpoint_folders(tmp_path)) == 4
    rotate(tmp_path, 2)
    assert checkpoint_folders(tmp_path) == paths[1:3]
    shutil.rmtree(paths[1])
    cut(paths[2])
    rotate(tmp_path, 1)
    assert checkpoint_folders(tmp_path) == []
