"""Features computed once and kept on disk: rows of named arrays, found by what they were made from.

    FOLDER/ID/recipe.json             what computed them; ID is its hash, so another recipe never meets these rows
    FOLDER/ID/shared.safetensors      arrays that belong to no row, such as the empty caption's
    FOLDER/ID/rows_*.safetensors      some hundred rows each; the metadata says which, and their checksums
    FOLDER/image_hashes.npz           hashes of images for --trust_mtime (ldm/data/image_hashes.py)

A file appears under its name only when it is complete, so writing may stop and go on anywhere. Every byte is covered by
a checksum. Rows of versions before that had checksums of their data alone; their headers are compared with the recipe.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Optional

import numpy as np
from safetensors import SafetensorError

from ldm.common.json_files import parse_json, read_json
from ldm.data.cache_files import (
    REMEDY,
    checksum,
    damaged,
    open_cache_file,
    size_and_time,
    write_atomically,
    write_cache_file,
)
from ldm.data.sources.source import listed
from ldm.data.texts import printable

OLD_KEYS = {"sources", "checksums"}  # of rows without a checksum of their header
ROW_KEYS = OLD_KEYS | {"recipe", "layout"}
SHARED_KEYS = {"checksum", "recipe", "layout"}


@dataclass(frozen=True)
class Source:
    """What a row was made from: `key` is the hash of image and caption."""

    key: str
    name: str  # path within the dataset
    image: str  # sha256 of the image file
    size: int
    mtime_ns: int

    def __post_init__(self):
        for field in fields(self):
            if type(getattr(self, field.name)) is not field.type:
                raise TypeError(f"{field.name} of a row is {getattr(self, field.name)!r}")


def recipe_id(recipe: dict) -> str:
    """A short name for a recipe: equal for equal content, whatever the order."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:16]


def file_of(sources: list[Source]) -> str:
    """The name of the file with the rows of these sources."""
    together = "".join(source.key for source in sources).encode("utf-8", "surrogatepass")
    return f"rows_{hashlib.sha256(together).hexdigest()[:16]}.safetensors"


class FeatureCache:
    """The rows of one recipe. Opening it reads and checks the headers of its files, no features.

    names: those of a row's arrays, where they are known. ValueError for a damaged file, and for one of another recipe.
    """

    def __init__(self, folder, recipe: dict, names: Optional[tuple] = None):
        self.root, self.recipe, self.names = Path(folder), recipe, names and sorted(names)
        self.id = recipe_id(recipe)
        self.folder = self.root / self.id
        self._places, self._shapes, self._stamps, self._open = {}, {}, {}, {}
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
        return [read_json(path, remedy=REMEDY) for path in paths if path.parent != self.folder]

    # Reading ----------------------------------------------------------------------------------------------------

    def read(self, key: str) -> dict:
        """{name: array} of a row, float32. KeyError for an unknown key, ValueError for a damaged row."""
        path, index, expected = self._places[key]
        if size_and_time(path) != self._stamps[path]:
            raise ValueError(f"{path} has changed since it was opened: leave it alone while it is used, start again.")
        file = self._opened(path)
        row = {name: file.get_slice(name)[index] for name in file.keys()}
        if checksum(row) != expected:
            raise damaged(path, f"the checksum of row {index}")
        row = {name: values.astype(np.float32) for name, values in row.items()}
        if bad := non_finite(row):
            raise damaged(path, f"row {index} has NaN or infinity in {bad}")
        return row

    def shared(self) -> dict:
        """{name: array} of what belongs to no row; the recipe beside it must be that of the folder's name."""
        self._check_recipe()
        path = self.folder / "shared.safetensors"
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist: run scripts/cache_features.py.")
        file, shapes, metadata = open_cache_file(path)
        arrays = {name: file.get_tensor(name) for name in shapes}
        if set(metadata) != SHARED_KEYS or metadata["recipe"] != self.id:
            raise damaged(path, "it is of another recipe, or of a version without checksums")
        if metadata["checksum"] != str(checksum(arrays)):
            raise damaged(path, "its checksum")
        return arrays

    def _check_recipe(self):
        path = self.folder / "recipe.json"
        if not path.is_file() or read_json(path, remedy=REMEDY) != self.recipe:
            raise ValueError(
                f"{path} is not the recipe that the folder is named after: run scripts/cache_features.py again."
            )

    def _opened(self, path):
        if path not in self._open:
            self._open[path] = open_cache_file(path)[0]
        return self._open[path]

    def _index(self, path: Path):
        stamp = size_and_time(path) if path.is_file() else None
        _, shapes, metadata = open_cache_file(path)
        try:
            sources = [Source(**source) for source in parse_json(metadata["sources"], "its sources", list)]
            sums = parse_json(metadata["checksums"], "its checksums", list)
            self._check_rows(path, shapes, metadata, sources)
            places = {
                source.key: (path, index, value)
                for index, (source, value) in enumerate(zip(sources, sums, strict=True))
            }
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, error) from error
        self._stamps[path] = stamp
        self._places |= places

    def _check_rows(self, path: Path, shapes: dict, metadata: dict, sources: list):
        """ValueError unless a file's header is what `add` would have written."""
        if set(metadata) not in (OLD_KEYS, ROW_KEYS):
            raise ValueError(f"its metadata are {', '.join(sorted(metadata))}")
        if metadata.get("recipe", self.id) != self.id:
            raise ValueError("it is of another recipe")
        if path.name != file_of(sources):
            raise ValueError("its rows are not those of its name")
        self._check_shapes(shapes, len(sources))

    def _check_shapes(self, shapes: dict, count: int):
        """ValueError unless {name: (dtype, shape)} are `count` rows like those of the other files."""
        if self.names and sorted(shapes) != self.names:
            raise ValueError(f"it has {', '.join(sorted(shapes))} instead of {', '.join(self.names)}")
        for name, (dtype, shape) in shapes.items():
            if dtype != self.recipe["dtype"] or not shape or shape[0] != count:
                raise ValueError(f"{name} is {dtype} {shape}, not {self.recipe['dtype']} of {count} rows")
            if "buckets" not in self.recipe and self._shapes.setdefault(name, shape[1:]) != shape[1:]:
                raise ValueError(f"rows of {name} are {shape[1:]}, those of other files {self._shapes[name]}")

    # Writing ----------------------------------------------------------------------------------------------------

    def begin(self, shared: dict):
        """Write the recipe and what belongs to no row."""
        if bad := non_finite(shared):
            raise ValueError(f"The encoders give NaN or infinity in {bad} of the empty caption: check their files.")
        text = json.dumps(self.recipe, indent=2, sort_keys=True) + "\n"
        write_atomically(self.folder / "recipe.json", lambda temporary: temporary.write_text(text))
        write_cache_file(
            self.folder / "shared.safetensors", shared, {"checksum": str(checksum(shared)), "recipe": self.id}
        )

    def add(self, sources: list[Source], arrays: dict):
        """Write rows: arrays {name: (N, ...)} float32 of N sources, one file, in the recipe's dtype.

        ValueError names the samples whose features are NaN or infinite, or do not fit the dtype or the other rows.
        """
        arrays = {name: self._stored(sources, name, values) for name, values in arrays.items()}
        path = self.folder / file_of(sources)
        try:
            self._check_shapes(
                {name: (str(values.dtype), values.shape) for name, values in arrays.items()}, len(sources)
            )
        except ValueError as error:
            raise ValueError(f"{path} is not written: {error}.") from error
        sums = [checksum({name: values[i] for name, values in arrays.items()}) for i in range(len(sources))]
        metadata = {"sources": json.dumps([asdict(source) for source in sources]), "checksums": json.dumps(sums)}
        write_cache_file(path, arrays, {**metadata, "recipe": self.id})
        self._index(path)

    def _stored(self, sources, name: str, values: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # said below
            stored = values.astype(self.recipe["dtype"])
        bad = [i for i in range(len(stored)) if not np.isfinite(stored[i]).all()]
        if not bad:
            return stored
        named = listed([printable(sources[i].name) for i in bad], len(bad))
        if all(np.isfinite(values[i]).all() for i in bad):
            raise ValueError(f"{name} of {named} is too large for {self.recipe['dtype']}: use --dtype float32.")
        raise ValueError(f"The encoders give NaN or infinity in {name} of {named}: check their files and these images.")


def non_finite(arrays: dict) -> str:
    """Names of the arrays that hold NaN or infinity."""
    return ", ".join(name for name, values in arrays.items() if not np.isfinite(values).all())
