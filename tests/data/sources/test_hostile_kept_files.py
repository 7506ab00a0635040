"""What is kept beside a dataset, indices of tars and image sizes, changed by somebody else: right, or refused in one line."""

import io
import os
import random
import zipfile

import numpy as np
import pytest
from hostile import VARIANTS, read_all, refused, sample, write

from ldm.data import image_sizes
from ldm.data.kept_arrays import write_arrays
from ldm.data.sources.opening import open_source

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.mark.parametrize("name", [".x.tar.index.npz", ".image_sizes.npz"])
def test_damaged_kept_files_are_named_or_change_nothing(tmp_path, name):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])

    def everything():
        source = open_source(path)
        return read_all(source), image_sizes.image_sizes(source)[0].tolist()

    expected, kept = everything(), tmp_path / name
    whole, rng = kept.read_bytes(), random.Random(name)
    for place in rng.sample(range(len(whole)), min(len(whole), int(os.environ.get("FUZZ", 2 * VARIANTS)))):
        kept.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + rng.randrange(2) :]
        )
        try:
            assert everything() == expected
        except ValueError as error:
            assert f"{name} is damaged" in str(error) and "delete it, it is made again" in str(error)
    kept.unlink()
    assert everything() == expected


def npz(path, **arrays):
    """Kept arrays with the checksum that belongs to them."""
    write_arrays(path, {name: array for name, array in arrays.items() if name != "checksum"})
    return path


def test_kept_arrays_that_were_changed_are_refused(tmp_path):
    """In a file whose own checksums are right; one without ours is of an earlier version, and made again."""
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])
    names = [name for name, *_ in read_all(open_source(path))]
    kept = tmp_path / ".x.tar.index.npz"
    arrays = dict(np.load(kept))
    np.savez(kept, **{**arrays, "letters": np.full_like(arrays["letters"], ord("z"))})
    refused(path, ".x.tar.index.npz is damaged .its arrays do not have its checksum")
    arrays.pop("checksum")
    np.savez(kept, **{**arrays, "letters": np.full_like(arrays["letters"], ord("z"))})
    assert [name for name, *_ in read_all(open_source(path))] == names
    assert "checksum" in np.load(kept)


@pytest.mark.parametrize(
    "keys, sizes",
    [
        (np.arange(3, dtype=np.uint64), np.ones((2, 2), np.int32)),
        (np.arange(3, dtype=np.uint64), np.ones((3, 3), np.int32)),
        (np.arange(3, dtype=np.uint64), np.ones((3, 2), np.float64)),
        (np.arange(3, dtype=np.int64), np.ones((3, 2), np.int32)),
        (np.arange(3, dtype=np.uint64), -np.ones((3, 2), np.int32)),
        (np.zeros(3, np.uint64), np.ones((3, 2), np.int32)),
        (np.array([open, 1], object), np.ones((2, 2), np.int32)),
        (np.uint64(3), np.ones((1, 2), np.int32)),
    ],
)
def test_image_sizes_that_do_not_fit_are_refused(tmp_path, keys, sizes):
    path = write(tmp_path / "x.tar", sample("a"))
    npz(tmp_path / ".image_sizes.npz", keys=keys, sizes=sizes)
    with pytest.raises(ValueError, match=".image_sizes.npz is damaged .*: delete it, it is made again"):
        image_sizes.image_sizes(open_source(path))


def test_nothing_kept_is_unpickled_or_believed_in_size(tmp_path):
    """A header that promises 10^12 numbers in a file of some bytes, one packed a thousand times, one with a pickle."""
    path = write(tmp_path / "x.tar", sample("a"))
    kept = tmp_path / ".image_sizes.npz"
    header = {"descr": "<u8", "fortran_order": False, "shape": (10**12,)}
    for dtype, more in (
        (header, b""),
        ({**header, "shape": (-2, -3)}, b"\0" * 48),
        ({**header, "descr": "|O"}, b"cos\nsystem\n(S'x'\ntR."),
    ):
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, dtype)
        with zipfile.ZipFile(kept, "w") as archive:
            archive.writestr("keys.npy", file.getvalue() + more)
            archive.writestr("sizes.npy", file.getvalue() + more)
            archive.writestr("checksum.npy", file.getvalue() + more)
        with pytest.raises(ValueError, match=".image_sizes.npz is damaged"):
            image_sizes.image_sizes(open_source(path))
    np.savez_compressed(kept, keys=np.zeros(10**6, np.uint64), sizes=np.zeros((10**6, 2), np.int32),
                        checksum=np.zeros(1, np.uint32))  # fmt: skip
    with pytest.raises(ValueError, match=".image_sizes.npz is damaged .*compressed"):
        image_sizes.image_sizes(open_source(path))


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays["places"].__setitem__((0, 0, 0), 10**9),
        lambda arrays: arrays["places"].__setitem__((0, 0, 1), 2**62),
        lambda arrays: arrays["places"].__setitem__((0, 0, 0), -1),
        lambda arrays: arrays["places"].__setitem__((0, 1, 1), -5),
        lambda arrays: arrays["places"].__setitem__((0, 0, 0), 7),
        lambda arrays: arrays["places"].__setitem__(..., arrays["places"][::-1].copy()),
        lambda arrays: arrays["places"].__setitem__(1, arrays["places"][0]),
        lambda arrays: arrays.update(places=arrays["places"][:1]),
        lambda arrays: arrays.update(ends=arrays["ends"][::-1]),
        lambda arrays: arrays["ends"].__setitem__(-1, 10**9),
        lambda arrays: arrays.update(ends=arrays["ends"][:0]),
    ],
)
def test_an_index_that_points_outside_its_tar_is_refused(tmp_path, change):
    path = write(tmp_path / "x.tar", [*sample("a"), *sample("b")])
    open_source(path)
    kept = tmp_path / ".x.tar.index.npz"
    arrays = dict(np.load(kept))
    change(arrays)
    npz(kept, **arrays)
    with pytest.raises(ValueError, match=".x.tar.index.npz is damaged"):
        open_source(path)
