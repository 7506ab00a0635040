"""The kept index of webdataset tars: until a tar changes, several scanned at once, and where it cannot be kept."""

import os

import numpy as np
import pytest
from webdataset_tars import write_tar

from ldm.data import processes
from ldm.data.sources import tar_index
from ldm.data.sources.opening import open_source
from ldm.data.sources.source import Captions


def test_the_index_is_kept_until_the_tar_changes(tar_folder, monkeypatch):
    path = f"{tar_folder}/s-000.tar"
    first = tar_index.indices_of_tars([path])[0]
    monkeypatch.setattr(tar_index, "scan_tar", lambda path: pytest.fail("scanned again"))
    again = tar_index.indices_of_tars([path])[0]
    assert list(again.names) == list(first.names) and np.array_equal(again.places, first.places)
    monkeypatch.undo()
    os.remove(path)
    write_tar(path, 2, 7)
    assert list(tar_index.indices_of_tars([path])[0].names) == ["part/007.jpg", "part/008.jpg"]


@pytest.fixture
def scanning_processes(monkeypatch, tmp_path_factory):
    """Two cores, whatever the machine has; a function that tells which processes have scanned tars."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    marks, scan = tmp_path_factory.mktemp("marks"), tar_index.scan_tar

    def scan_and_mark(path):
        (marks / str(os.getpid())).touch()
        return scan(path)

    monkeypatch.setattr(tar_index, "scan_tar", scan_and_mark)
    return lambda: {int(mark.name) for mark in marks.iterdir()}


def same(index, other):
    return list(index.names) == list(other.names) and np.array_equal(index.places, other.places)


def test_several_tars_are_scanned_at_once_as_one_by_one(tmp_path, scanning_processes, monkeypatch):
    paths = [f"{tmp_path}/{number}.tar" for number in range(5)]
    for number, path in enumerate(paths):
        write_tar(path, [40, 1, 7, 0, 3][number], 100 * number, leave_out=["json"] if number == 2 else [])
    indices = tar_index.indices_of_tars(paths)
    assert len(scanning_processes()) == 2 and os.getpid() not in scanning_processes()
    monkeypatch.setattr(processes, "_Worker", lambda *_: pytest.fail("a process was started"))
    for path, index in zip(paths, indices):
        assert same(index, tar_index.scan_tar(path))
    assert [len(index.names) for index in indices] == [40, 1, 7, 0, 3]
    assert all(map(same, indices, tar_index.indices_of_tars(paths)))  # from the kept files


def test_one_tar_or_kept_indices_start_no_process(tar_folder, scanning_processes, monkeypatch):
    monkeypatch.setattr(processes, "_Worker", lambda *_: pytest.fail("a process was started"))
    open_source(f"{tar_folder}/s-001.tar")
    assert scanning_processes() == {os.getpid()}
    assert open_source(f"{tar_folder}/*.tar").name(2) == "s-000.tar/part/002.jpg"  # one kept, one not
    monkeypatch.setattr(tar_index, "scan_tar", lambda path: pytest.fail("scanned again"))
    assert len(open_source(f"{tar_folder}/*.tar")) == 7


def test_a_wrong_tar_among_several_is_named_and_those_before_it_are_kept(tmp_path, scanning_processes):
    for number in range(5):
        write_tar(tmp_path / f"{number}.tar", 4, 4 * number, leave_out=["jpg"] if number in (2, 3) else [])
    with pytest.raises(ValueError) as alone:
        tar_index.scan_tar(f"{tmp_path}/2.tar")
    with pytest.raises(ValueError) as among_others:
        open_source(f"{tmp_path}/*.tar")
    assert str(among_others.value) == str(alone.value) and "2.tar: 4 samples without image" in str(alone.value)
    assert len(scanning_processes() - {os.getpid()}) == 2
    assert sorted(kept.name for kept in tmp_path.glob(".*")) == [".0.tar.index.npz", ".1.tar.index.npz"]
    for number in (2, 3):
        write_tar(tmp_path / f"{number}.tar", 4, 4 * number)
    assert [Captions(open_source(f"{tmp_path}/*.tar"))[index] for index in (0, 9, 19)] == [
        f"caption {index}" for index in (0, 9, 19)
    ]


def test_where_no_index_can_be_kept_a_line_says_so(tar_folder, capsys):
    (tar_folder / "file").touch()
    for _ in range(2):
        assert len(open_source(f"{tar_folder}/*.tar", index_dir=tar_folder / "file")) == 7
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(" is not kept")[0] for line in lines] == [
            f"The index of {tar_folder}/s-00{number}.tar" for number in (0, 1)
        ]


def test_a_damaged_index_says_what_to_do(tar_folder):
    path = f"{tar_folder}/s-000.tar"
    tar_index.indices_of_tars([path])[0]
    kept = tar_folder / ".s-000.tar.index.npz"
    whole = kept.read_bytes()
    for damaged in (b"rubbish", b"", whole[: len(whole) // 2]):
        kept.write_bytes(damaged)
        with pytest.raises(ValueError, match="s-000.tar.index.npz is damaged.*delete it"):
            tar_index.indices_of_tars([path])[0]


def test_the_index_can_be_kept_elsewhere(tar_folder, tmp_path):
    open_source(f"{tar_folder}/s-000.tar", index_dir=tmp_path / "index")
    assert len(list((tmp_path / "index").glob("s-000.tar.*.npz"))) == 1
    assert not list(tar_folder.glob(".s-000*"))
