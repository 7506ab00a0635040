"""Webdataset tars: any sample at any time, several tars, the kept index, and what is refused."""

import gzip
import json
import os
import pickle
import tarfile

import numpy as np
import pytest

from ldm.data import processes
from ldm.data.sources import tar_index
from ldm.data.sources.opening import open_source
from ldm.data.sources.source import Captions
from ldm.data.sources.tar_headers import tar_files
from ldm.data.sources.tar_paths import find_tars


def write_tar(path, count=3, start=0, leave_out=(), **options):
    """Samples with a few bytes in place of images, written by the webdataset package itself."""
    import webdataset

    with webdataset.TarWriter(str(path), **options) as tar:
        for index in range(start, start + count):
            sample = {
                "jpg": f"image {index}".encode() * index,
                "txt": f"caption {index}",
                "json": {"width": 100 * index},
            }
            sample = {name: part for name, part in sample.items() if name not in leave_out}
            tar.write({"__key__": f"part/{index:03d}", **sample})


@pytest.fixture
def folder(tmp_path):
    write_tar(tmp_path / "s-000.tar", 3)
    write_tar(tmp_path / "s-001.tar", 4, 3)
    return tmp_path


def test_samples_in_any_order(folder):
    source = open_source(f"{folder}/*.tar")
    assert [source.name(index) for index in (6, 0)] == ["s-001.tar/part/006.jpg", "s-000.tar/part/000.jpg"]
    for index in (5, 1, 6, 0, 3):
        assert source.read(index) == f"image {index}".encode() * index
        assert source.caption(index) == f"caption {index}"
        assert source.metadata(index) == {"width": 100 * index}
        with source.open(index) as file:
            file.seek(3)
            assert file.read(4) == source.read(index)[3:7]
            assert file.read() == source.read(index)[7:]
    assert Captions(pickle.loads(pickle.dumps(source)))[4] == "caption 4"


def test_braces_commas_globs_and_their_mistakes(folder):
    two = [f"{folder}/s-000.tar", f"{folder}/s-001.tar"]
    for text in (f"{folder}/s-*.tar", f"{folder}/s-{{000..001}}.tar", f"{folder}/s-{{000,001}}.tar", ", ".join(two)):
        assert find_tars(text) == two
    for text, error, message in [
        (f"{folder}/s-{{000..002}}.tar", FileNotFoundError, "nothing matches .*s-002.tar"),
        (f"{folder}/*.tar,{two[0]}", ValueError, "names a tar twice"),
        ("https://example.org/s-{000..001}.tar", ValueError, "only tars on this machine"),
        ("pipe:cat x.tar", ValueError, "only tars on this machine"),
        (f"{two[0]},{folder}", ValueError, "is no .tar"),
    ]:
        with pytest.raises(error, match=message):
            find_tars(text)
    with pytest.raises(ValueError, match="has no images.*give --dataset_path '.*/\\*.tar'"):
        open_source(folder)


def test_filters_and_captions_from_json(folder):
    assert Captions(open_source(f"{folder}/*.tar", data_filter="width > 400"))[:] == ["caption 5", "caption 6"]
    with pytest.raises(ValueError, match="has no text 'width'"):
        open_source(f"{folder}/*.tar", "width").caption(0)


def test_the_index_is_kept_until_the_tar_changes(folder, monkeypatch):
    path = f"{folder}/s-000.tar"
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


def test_one_tar_or_kept_indices_start_no_process(folder, scanning_processes, monkeypatch):
    monkeypatch.setattr(processes, "_Worker", lambda *_: pytest.fail("a process was started"))
    open_source(f"{folder}/s-001.tar")
    assert scanning_processes() == {os.getpid()}
    assert open_source(f"{folder}/*.tar").name(2) == "s-000.tar/part/002.jpg"  # one kept, one not
    monkeypatch.setattr(tar_index, "scan_tar", lambda path: pytest.fail("scanned again"))
    assert len(open_source(f"{folder}/*.tar")) == 7


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


def test_where_no_index_can_be_kept_a_line_says_so(folder, capsys):
    (folder / "file").touch()
    for _ in range(2):
        assert len(open_source(f"{folder}/*.tar", index_dir=folder / "file")) == 7
        lines = capsys.readouterr().err.splitlines()
        assert [line.split(" is not kept")[0] for line in lines] == [
            f"The index of {folder}/s-00{number}.tar" for number in (0, 1)
        ]


def test_a_damaged_index_says_what_to_do(folder):
    path = f"{folder}/s-000.tar"
    tar_index.indices_of_tars([path])[0]
    kept = folder / ".s-000.tar.index.npz"
    whole = kept.read_bytes()
    for damaged in (b"rubbish", b"", whole[: len(whole) // 2]):
        kept.write_bytes(damaged)
        with pytest.raises(ValueError, match="s-000.tar.index.npz is damaged.*delete it"):
            tar_index.indices_of_tars([path])[0]


def test_the_index_can_be_kept_elsewhere(folder, tmp_path):
    open_source(f"{folder}/s-000.tar", index_dir=tmp_path / "index")
    assert len(list((tmp_path / "index").glob("s-000.tar.*.npz"))) == 1
    assert not list(folder.glob(".s-000*"))


@pytest.mark.parametrize(
    "layout, name",
    [
        (layout, name)
        for layout in ("USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT")
        for name in ("short", "d" * 90 + "/" + "n" * 85, "n" * 120, "ünïcode")
        if (layout, name) != ("USTAR_FORMAT", "n" * 120)  # it has no room for such a name
    ],
)
def test_headers_are_read_as_tarfile_reads_them(tmp_path, layout, name):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=getattr(tarfile, layout)) as tar:
        tar.addfile(tarfile.TarInfo("plain.jpg"))
        for index in range(3):
            member = tarfile.TarInfo(f"{name}.{index}.jpg")
            member.size, member.mtime = 600 * index, 1.5  # PAX_FORMAT writes an extension for the fraction
            tar.addfile(member, open(os.devnull, "rb") if not index else open(__file__, "rb"))
            tar.addfile(tarfile.TarInfo("folder")) if index else None
    with tarfile.open(path) as tar:
        expected = [(member.name, member.offset_data, member.size) for member in tar]
    assert list(tar_files(str(path))) == expected and len(expected) == 6


@pytest.mark.parametrize("name", ["a.jpg", "d.e/a.b.jpg", "d/a", "d.e/a", ".a.jpg", "a.", "ä b/c.SEG.png", ""])
def test_names_are_split_as_webdataset_splits_them(name):
    from webdataset.tariterators import base_plus_ext

    assert tar_index.split_name(name) == base_plus_ext(name)


def test_files_are_grouped_as_webdataset_groups_them(tmp_path):
    from webdataset.tariterators import group_by_keys

    files = ["a.jpg", "a.TXT", "b.seg.png", "README", "b.png", "b.json", "c/a.jpg", "d.jpeg", "A.jpg"]
    hidden = ["c/._a.jpg", ".trash/x.jpg", "c/.trash/x.jpg", "c/.trash/y.txt"]
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for length, name in enumerate(files + hidden, 1):
            member = tarfile.TarInfo(name)
            member.size = length
            tar.addfile(member, open(__file__, "rb"))
    index = tar_index.scan_tar(f"{tmp_path}/x.tar")
    samples = list(group_by_keys({"fname": n, "data": length, "__url__": ""} for length, n in enumerate(files, 1)))
    assert list(index.names) == ["a.jpg", "b.png", "c/a.jpg", "d.jpeg", "A.jpg"]
    assert [name.rpartition(".")[0] for name in index.names] == [sample["__key__"] for sample in samples]
    for sample, name, lengths in zip(samples, index.names, index.places[:, :, 1].tolist()):
        assert lengths == [sample[name.rpartition(".")[2]], sample.get("txt", 0), sample.get("json", 0)]


def test_compressed_and_damaged_tars_are_refused(folder):
    path = folder / "s-000.tar"
    content = path.read_bytes()
    (folder / "c.tar").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="c.tar is compressed with gzip: unpack"):
        open_source(f"{folder}/c.tar")
    (folder / "d.tar").write_bytes(content[:1300])
    with pytest.raises(ValueError, match="d.tar cannot be read as a tar"):
        open_source(f"{folder}/d.tar")
    flipped = bytearray(content)
    flipped[130] ^= 1  # within the first header's size
    (folder / "e.tar").write_bytes(bytes(flipped))
    with pytest.raises(ValueError, match="e.tar cannot be read as a tar"):
        open_source(f"{folder}/e.tar")


def test_incomplete_samples_are_named(tmp_path):
    write_tar(tmp_path / "a.tar", 2, leave_out=["txt"])
    with pytest.raises(ValueError, match="2 samples have no or an empty .txt.*a.tar/part/000.jpg.*--caption_key"):
        open_source(f"{tmp_path}/a.tar")
    write_tar(tmp_path / "b.tar", 2, leave_out=["jpg"])
    with pytest.raises(ValueError, match="2 samples without image .*part/000"):
        open_source(f"{tmp_path}/b.tar")
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        for name in ("x.jpg", "y.txt", "y.jpg", "y.TXT", "z.jpg", "z.png"):
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ValueError, match="twice.tar: 1 samples with a file twice: y; 1 samples with several images: z"):
        open_source(f"{tmp_path}/twice.tar")
    write_tar(tmp_path / "c.tar", 2, leave_out=["json"])
    with pytest.raises(ValueError, match="part/000.jpg has no .json"):
        open_source(f"{tmp_path}/c.tar", data_filter="width > 1")


def test_captions_from_json_need_no_txt(tmp_path):
    import webdataset

    with webdataset.TarWriter(str(tmp_path / "a.tar")) as tar:
        tar.write({"__key__": "x", "png": b"1", "json": json.dumps({"caption": " from\njson "}).encode()})
    assert open_source(f"{tmp_path}/a.tar", "caption").caption(0) == "from json"
