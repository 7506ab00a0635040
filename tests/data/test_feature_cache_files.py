"""A feature cache on its own: every damaged byte, files that do not belong, values that cannot be stored, a full disk."""

import json
import os
import resource
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ldm.data.feature_cache import FeatureCache, Source, checksum, file_of

RECIPE = {"dtype": "float16", "resolution": 64}
NAMES = ("latents", "pooled")
SOURCES = [Source(f"{index:064x}", f"{index}.png", "b" * 64, 10 + index, index) for index in range(3)]
SHARED = {"pooled": np.linspace(0, 1, 4, dtype=np.float32)}


def rows(count=3, scale=1.0) -> dict:
    values = np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)
    return {"latents": values * scale, "pooled": -values[:, :1]}


def write_cache(folder, recipe=RECIPE, sources=SOURCES, arrays=None) -> FeatureCache:
    cache = FeatureCache(folder, recipe, NAMES)
    cache.begin(SHARED)
    cache.add(sources, arrays or rows(len(sources)))
    return cache


@pytest.fixture
def cache(tmp_path):
    return write_cache(tmp_path / "cache")


def everything(cache) -> tuple:
    """All that a training reads from a cache that is opened anew."""
    again = FeatureCache(cache.root, cache.recipe, NAMES)
    return again.shared(), [again.read(source.key) for source in SOURCES]


def same(one, other) -> bool:
    return json.dumps(one, default=np.ndarray.tolist) == json.dumps(other, default=np.ndarray.tolist)


def files(cache) -> list:
    return sorted(cache.folder.iterdir())


def test_what_was_added_is_read(cache):
    shared, read = everything(cache)
    np.testing.assert_array_equal(shared["pooled"], SHARED["pooled"])
    for index, row in enumerate(read):
        np.testing.assert_array_equal(row["latents"], rows()["latents"][index])
    assert [path.name for path in files(cache)] == ["recipe.json", file_of(SOURCES), "shared.safetensors"]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("bit", [0x01, 0x20, 0xFF])
def test_every_damaged_byte_is_noticed(cache, number, bit):
    """Or changes nothing, as a line's end in recipe.json does."""
    path, expected = files(cache)[number], everything(cache)
    whole, silent = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            silent += same(everything(cache), expected) or 1_000_000
        except ValueError as error:
            assert path.name in str(error) and "cache_features" in str(error) and "\n" not in str(error)
    assert silent < (100 if path.name == "recipe.json" else 1)


@pytest.mark.parametrize("number", range(3))
def test_every_shorter_file_is_noticed(cache, number):
    path, expected = files(cache)[number], everything(cache)
    whole = path.read_bytes()
    for length in [*range(0, len(whole) - 1, 7), len(whole) - 2]:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{path.name}.*cache_features"):
            everything(cache)
    path.write_bytes(whole + b"x")
    with pytest.raises(ValueError, match=f"{path.name}.*cache_features"):
        everything(cache)
    path.write_bytes(whole)
    assert same(everything(cache), expected)


def test_files_of_another_cache_are_noticed(cache, tmp_path):
    """Rows and shared arrays of another resolution, under this cache's names."""
    other = write_cache(tmp_path / "other", {**RECIPE, "resolution": 96})
    for mine, theirs in zip(files(cache), files(other)):
        whole = mine.read_bytes()
        shutil.copy(theirs, mine)
        with pytest.raises(ValueError, match=mine.name):
            everything(cache)
        mine.write_bytes(whole)
    [recipe, some_rows, shared] = files(cache)
    shutil.copy(shared, some_rows)
    with pytest.raises(ValueError, match="rows_.* is damaged"):
        everything(cache)


def test_rows_under_the_name_of_others_are_noticed(cache):
    others = [Source(f"{9:064x}", "9.png", "c" * 64, 1, 1)]
    cache.add(others, rows(1))
    shutil.copy(cache.folder / file_of(others), cache.folder / file_of(SOURCES))
    with pytest.raises(ValueError, match="its rows are not those of its name"):
        everything(cache)


@pytest.mark.parametrize("name", ["shared.safetensors", file_of(SOURCES), "recipe.json"])
def test_pipes_folders_and_links_to_nothing_do_not_hang(cache, name):
    for make in (os.mkfifo, os.mkdir, lambda path: os.symlink("nowhere", path), lambda path: os.symlink(path, path)):
        os.remove(cache.folder / name)
        make(cache.folder / name)
        with pytest.raises((ValueError, OSError), match=name):
            everything(cache)
        shutil.rmtree(cache.folder)
        write_cache(cache.root)


def test_a_file_that_changes_while_it_is_used_is_not_read(cache):
    reader = FeatureCache(cache.root, RECIPE, NAMES)
    reader.read(SOURCES[0].key)
    os.truncate(cache.folder / file_of(SOURCES), 100)  # of a mapped file that would end the process
    with pytest.raises(ValueError, match="has changed since it was opened"):
        reader.read(SOURCES[1].key)


def as_earlier_versions_wrote(cache, change=lambda arrays, metadata: None):
    """Rows whose metadata have neither recipe nor layout."""
    path = cache.folder / file_of(SOURCES)
    arrays = load_file(path)
    sources = [source.__dict__ for source in SOURCES]
    sums = [checksum({name: values[i] for name, values in arrays.items()}) for i in range(3)]
    metadata = {"sources": json.dumps(sources), "checksums": json.dumps(sums)}
    change(arrays, metadata)
    save_file(arrays, path, metadata)


def test_rows_of_earlier_versions_are_still_read(cache):
    expected = everything(cache)
    as_earlier_versions_wrote(cache)
    assert same(everything(cache), expected)


def test_shared_arrays_of_earlier_versions_are_written_again(cache):
    save_file(SHARED, cache.folder / "shared.safetensors")
    with pytest.raises(ValueError, match="shared.safetensors is damaged.*version without checksums.*cache_features.py"):
        everything(cache)
    cache.begin(SHARED)
    everything(cache)


def not_a_number(arrays, metadata):
    arrays["latents"][1] = np.nan
    sums = [checksum({name: values[i] for name, values in arrays.items()}) for i in range(3)]
    metadata["checksums"] = json.dumps(sums)


@pytest.mark.parametrize(
    "change, message",
    [
        (not_a_number, "row 1 has NaN or infinity in latents"),
        (lambda arrays, metadata: arrays.update(latents=arrays["latents"].view(np.int16)), "damaged"),
        (lambda arrays, metadata: arrays.update(latents=arrays["latents"][:2]), "not float16 of 3 rows"),
        (lambda arrays, metadata: arrays.update(latent=arrays.pop("latents")), "instead of latents, pooled"),
        (lambda arrays, metadata: metadata.update(more="x"), "its metadata are"),
        (lambda arrays, metadata: metadata.update(checksums="[1, 2]"), "damaged"),
        (lambda arrays, metadata: metadata.update(checksums='{"a": 1}'), "holds a dict"),
        (lambda arrays, metadata: metadata.update(sources="[" * 100_000), "nested too deeply"),
        (lambda arrays, metadata: metadata.update(sources="[1, 2, 3]"), "damaged"),
        (lambda arrays, metadata: metadata.update(sources='[{"key": 1}]'), "damaged"),
        (lambda arrays, metadata: metadata.pop("sources"), "damaged"),
    ],
)
def test_rows_of_earlier_versions_are_checked_as_far_as_they_can_be(cache, change, message):
    as_earlier_versions_wrote(cache, change)
    with pytest.raises(ValueError, match=f"rows_.*{message}"):
        everything(cache)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda arrays: arrays["latents"].__setitem__(1, 70_000.0), "latents of 1.png is too large for float16: use"),
        (lambda arrays: arrays["pooled"].__setitem__(2, np.nan), "encoders give NaN or infinity in pooled of 2.png"),
        (
            lambda arrays: arrays.update(pooled=arrays["pooled"][:2]),
            "rows_.* is not written: pooled is float16 .2, 1, 3., not float16 of 3 rows",
        ),
        (lambda arrays: arrays.pop("pooled"), "is not written: it has latents instead of latents, pooled"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path, change, message):
    arrays = rows()
    change(arrays)
    with pytest.raises(ValueError, match=message):
        write_cache(tmp_path, arrays=arrays)
    assert not list(tmp_path.rglob("rows_*"))


def test_an_empty_caption_of_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="NaN or infinity in pooled of the empty caption"):
        FeatureCache(tmp_path, RECIPE).begin({"pooled": np.array([np.nan])})


@pytest.fixture
def disk_with_room(request):
    """No file can have more bytes than given: what writing beyond a full disk's end does, to everybody's user."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (request.param, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("disk_with_room", [1000], indirect=True)
def test_a_full_disk_leaves_what_was_there_and_nothing_half_written(tmp_path, disk_with_room):
    recipe = {**RECIPE, "buckets": ["64x64"]}  # rows of several shapes
    write_cache(tmp_path, recipe, SOURCES[:1], rows(1))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    cache = FeatureCache(tmp_path, recipe, NAMES)
    large = {"latents": np.ones((1, 2, 3), np.float32), "pooled": np.ones((1, 1, 3000), np.float32)}
    with pytest.raises(
        OSError, match="rows_.* cannot be written .*make room.*started again, only the rest is made"
    ) as error:
        cache.add(SOURCES[1:2], large)
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert len(FeatureCache(tmp_path, recipe, NAMES)) == 1
