"""Webdataset tars: any sample at any time, several tars, the kept index, and what is refused."""

import gzip
import json
import os
import pickle
import tarfile

import pytest
from webdataset_tars import write_tar

from ldm.data.sources import tar_index
from ldm.data.sources.opening import open_source
from ldm.data.sources.source import Captions
from ldm.data.sources.tar_headers import tar_files


def test_samples_in_any_order(tar_folder):
    source = open_source(f"{tar_folder}/*.tar")
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


def test_filters_and_captions_from_json(tar_folder):
    assert Captions(open_source(f"{tar_folder}/*.tar", data_filter="width > 400"))[:] == ["caption 5", "caption 6"]
    with pytest.raises(ValueError, match="has no text 'width'"):
        open_source(f"{tar_folder}/*.tar", "width").caption(0)


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


def test_compressed_and_damaged_tars_are_refused(tar_folder):
    path = tar_folder / "s-000.tar"
    content = path.read_bytes()
    (tar_folder / "c.tar").write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="c.tar is compressed with gzip: unpack"):
        open_source(f"{tar_folder}/c.tar")
    (tar_folder / "d.tar").write_bytes(content[:1300])
    with pytest.raises(ValueError, match="d.tar cannot be read as a tar"):
        open_source(f"{tar_folder}/d.tar")
    flipped = bytearray(content)
    flipped[130] ^= 1  # within the first header's size
    (tar_folder / "e.tar").write_bytes(bytes(flipped))
    with pytest.raises(ValueError, match="e.tar cannot be read as a tar"):
        open_source(f"{tar_folder}/e.tar")


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
