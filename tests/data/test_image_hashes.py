"""Content decides which features belong to an image; --trust_mtime only where no program can have changed the file."""

import hashlib
import multiprocessing
import os

import numpy as np
import pytest
from PIL import Image

from ldm.data.image_hashes import KeptHashes, hash_images
from ldm.data.kept_arrays import write_arrays
from ldm.data.sources.files import stamp_of
from ldm.data.sources.opening import open_source


def write(path, colour):
    Image.new("RGB", (8, 8), colour).save(path, format="BMP")  # all of one size


@pytest.fixture
def folder(tmp_path):
    for index in range(200):  # more than one process takes at once
        write(tmp_path / f"{index:03d}.png", (index, 0, 0))
        (tmp_path / f"{index:03d}.txt").write_text(f"picture {index}")
    return tmp_path


def replace_unseen(path, colour):
    """Another image with the same name, size and modification time."""
    before = os.stat(path)
    os.remove(path)
    write(path, colour)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stamp_of(path)[:2] == (before.st_size, before.st_mtime_ns)


def overwrite_unseen(path, colour):
    """The same without a new inode."""
    before, other = os.stat(path), path.with_suffix(".other")
    write(other, colour)
    path.write_bytes(other.read_bytes())
    other.unlink()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert stamp_of(path)[:3] == (before.st_size, before.st_mtime_ns, before.st_ino)


def test_every_image_is_hashed_with_its_caption_in_its_place(folder, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    source, before = open_source(folder), set(multiprocessing.active_children())
    sources, keys, hashed = hash_images(source, KeptHashes(), "x")
    assert hashed == 200 and len(set(keys)) == 200
    assert set(multiprocessing.active_children()) <= before  # in any order; another test's may have ended
    for index in (0, 63, 64, 199):
        image = hashlib.sha256((folder / f"{index:03d}.png").read_bytes()).hexdigest()
        assert sources[index].image == image and sources[index].name == f"{index:03d}.png"
        assert sources[index].key == hashlib.sha256(f"{image} picture {index}".encode()).hexdigest()


@pytest.mark.parametrize("replace", [replace_unseen, overwrite_unseen])
@pytest.mark.parametrize("trust", [False, True])
def test_another_image_of_the_same_name_size_and_time_is_another(folder, replace, trust):
    kept = folder / "hashes.npz"
    sources, keys, _ = hash_images(open_source(folder), KeptHashes(), "x")
    KeptHashes().keep(kept, keys, [source.image for source in sources])
    replace(folder / "007.png", "blue")
    again, _, hashed = hash_images(open_source(folder), KeptHashes(kept if trust else None), "x")
    assert [a.key == b.key for a, b in zip(sources, again)] == [index != 7 for index in range(200)]
    assert hashed == (1 if trust else 200)


def test_trusted_files_are_not_read_but_their_captions_are(folder, monkeypatch):
    kept = folder / "hashes.npz"
    sources, keys, _ = hash_images(open_source(folder), KeptHashes(), "x")
    KeptHashes().keep(kept, keys, [source.image for source in sources])
    (folder / "003.txt").write_text("something else")
    source = open_source(folder)
    monkeypatch.setattr(type(source), "open", lambda self, index: pytest.fail("opened"))
    again, _, hashed = hash_images(source, KeptHashes(kept), "x")
    assert hashed == 0 and [a.key == b.key for a, b in zip(sources, again)] == [index != 3 for index in range(200)]


def test_kept_hashes_of_several_datasets_live_together(tmp_path):
    path = tmp_path / "hashes.npz"
    KeptHashes().keep(path, [5, 1], ["05" * 32, "01" * 32])
    KeptHashes(path).keep(path, [3, 1], ["03" * 32, "ff" * 32])
    kept = KeptHashes(path)
    assert [kept.get(key) for key in (1, 2, 3, 5, 2**64 - 1)] == ["ff" * 32, None, "03" * 32, "05" * 32, None]


@pytest.mark.parametrize(
    "arrays",
    [
        {"keys": np.arange(3, dtype=np.uint64), "hashes": np.zeros((2, 32), np.uint8)},
        {"keys": np.arange(3, dtype=np.uint64), "hashes": np.zeros((3, 31), np.uint8)},
        {"keys": np.arange(3, dtype=np.int32), "hashes": np.zeros((3, 32), np.uint8)},
        {"keys": np.arange(3, dtype=np.uint64)[::-1], "hashes": np.zeros((3, 32), np.uint8)},
        {"keys": np.arange(3, dtype=np.uint64)},
    ],
)
def test_kept_hashes_that_do_not_fit_are_refused(tmp_path, arrays):
    write_arrays(tmp_path / "hashes.npz", arrays)
    with pytest.raises(ValueError, match="hashes.npz is damaged .*: delete it, it is made again"):
        KeptHashes(tmp_path / "hashes.npz")


def test_the_first_image_that_cannot_be_read_is_named(folder):
    source = open_source(folder)
    (folder / "100.png").unlink()
    with pytest.raises(FileNotFoundError, match="100.png"):
        hash_images(source, KeptHashes(), "x")
