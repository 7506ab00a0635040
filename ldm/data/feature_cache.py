"""Features computed once and kept on disk: rows of named arrays, found by what they were made from.

    FOLDER/ID/recipe.json             what computed them; ID is its hash, so another recipe never meets these rows
    FOLDER/ID/shared.safetensors      arrays that belong to no row, such as the empty caption's
    FOLDER/ID/rows_*.safetensors      some hundred rows each; the metadata says which, and their checksums

A file appears under its name only when it is complete, so writing may stop and go on anywhere.
"""

import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from ldm.atomic import atomic_path


@dataclass(frozen=True)
class Source:
    """What a row was made from: `key` is its content's hash; the rest recognises an unchanged file without reading it."""

    key: str
    name: str  # path within the dataset
    image: str  # sha256 of the image file
    size: int
    mtime_ns: int


def recipe_id(recipe: dict) -> str:
    """A short name for a recipe: equal for equal content, whatever the order."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def checksum(row: dict) -> int:
    """CRC-32 over a row's arrays in the order of their names."""
    value = 0
    for name in sorted(row):
        value = zlib.crc32(np.ascontiguousarray(row[name]).data, value)
    return value


class FeatureCache:
    """The rows of one recipe. Opening it reads the headers of its files, no features."""

    def __init__(self, folder, recipe: dict):
        self.root, self.recipe = Path(folder), recipe
        self.folder = self.root / recipe_id(recipe)
        self._places, self._known, self._open = {}, {}, {}
        for path in sorted(self.folder.glob("rows_*.safetensors")):
            self._index(path)

    def __len__(self):
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getstate__(self):
        return {**self.__dict__, "_open": {}}  # open files do not travel to the loader's workers

    def other_recipes(self) -> list[dict]:
        """What the folder holds besides this recipe, for errors that say why nothing was found."""
        paths = sorted(self.root.glob("*/recipe.json"))
        return [json.loads(path.read_text()) for path in paths if path.parent != self.folder]

    def image_hash(self, name: str, size: int, mtime_ns: int):
        """sha256 of an image that has not changed since it was cached; None if it has, or is unknown."""
        return self._known.get((name, size, mtime_ns))

    # Reading ----------------------------------------------------------------------------------------------------

    def read(self, key: str) -> dict:
        """{name: array} of a row, float32. KeyError for an unknown key, ValueError for a damaged row."""
        path, index, expected = self._places[key]
        file = self._opened(path)
        row = {name: file.get_slice(name)[index] for name in file.keys()}
        if checksum(row) != expected:
            raise ValueError(
                f"{path}: row {index} is damaged. Delete the file and run scripts/cache_features.py again."
            )
        return {name: values.astype(np.float32) for name, values in row.items()}

    def shared(self) -> dict:
        """{name: array} of what belongs to no row."""
        path = self.folder / "shared.safetensors"
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: run scripts/cache_features.py.")
        return load_file(path)

    def _opened(self, path):
        if path not in self._open:
            self._open[path] = safe_open(str(path), framework="np").__enter__()
        return self._open[path]

    def _index(self, path):
        try:
            with safe_open(str(path), framework="np") as file:
                metadata = file.metadata() or {}
            sources, checksums = json.loads(metadata["sources"]), json.loads(metadata["checksums"])
        except (SafetensorError, KeyError, json.JSONDecodeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): delete it and run scripts/cache_features.py again."
            ) from error
        for index, (source, expected) in enumerate(zip(sources, checksums, strict=True)):
            source = Source(**source)
            self._places[source.key] = (path, index, expected)
            self._known[source.name, source.size, source.mtime_ns] = source.image

    # Writing ----------------------------------------------------------------------------------------------------

    def begin(self, shared: dict):
        """Write the recipe and what belongs to no row."""
        with atomic_path(self.folder / "shared.safetensors") as temporary:
            save_file(shared, temporary)
        with atomic_path(self.folder / "recipe.json") as temporary:
            temporary.write_text(json.dumps(self.recipe, indent=2, sort_keys=True) + "\n")

    def add(self, sources: list[Source], arrays: dict):
        """Write rows: arrays {name: (N, ...)} of N sources, one file."""
        sums = [checksum({name: values[i] for name, values in arrays.items()}) for i in range(len(sources))]
        metadata = {"sources": json.dumps([asdict(source) for source in sources]), "checksums": json.dumps(sums)}
        name = hashlib.sha256("".join(source.key for source in sources).encode()).hexdigest()[:16]
        path = self.folder / f"rows_{name}.safetensors"
        with atomic_path(path) as temporary:
            save_file({name: np.ascontiguousarray(values) for name, values in arrays.items()}, temporary, metadata)
        self._index(path)
