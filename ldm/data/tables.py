"""A folder of images with one metadata.jsonl or metadata.csv that names each image and its caption."""

import csv
import io
import json
import os
from abc import abstractmethod
from array import array
from pathlib import Path

import numpy as np

from ldm.data.file_slices import FileSlices
from ldm.data.pairs import IMAGE_SUFFIXES
from ldm.data.source import ImageSource, listed, one_line

TABLES = ("metadata.jsonl", "metadata.csv")
NAME_KEY = "file_name"  # as in Hugging Face's image folders
CAPTION_KEYS = ("text", "caption")  # where --caption_key does not say which


class TableFolder(ImageSource):
    """The images that the rows of `table` name, in its order: file_name relative to the table, caption in `caption_key`.

    Opening reads the table once and lists the folders; of every row only the place is kept. ValueError names the rows
    that lack a name or a caption, name an image twice, or one that does not exist. Other columns are metadata.
    """

    def __init__(self, table, caption_key: str = ""):
        self.table, self.where = os.fspath(table), str(Path(table).parent)
        self._slices, self._ends = FileSlices(), array("q", [0])
        self._rows, names, problems = array("q"), array("q"), {}
        self._caption_key = caption_key
        for number, row in enumerate(self._all_rows()):
            if row is None:  # an empty line
                continue
            self._caption_key = self._caption_key or self._find_caption_key(row)
            name, caption = row.get(NAME_KEY), row.get(self._caption_key)
            label = f"row {number + 1}"
            if not isinstance(name, str) or not name.lower().endswith(IMAGE_SUFFIXES):
                problems.setdefault(f"rows whose {NAME_KEY} is no image ({', '.join(IMAGE_SUFFIXES)})", []).append(
                    label
                )
            elif not isinstance(caption, str) or not caption.strip():
                problems.setdefault(f"rows without a caption in {self._caption_key!r}", []).append(label)
            self._rows.append(number)
            names.append(hash(os.path.normpath(str(name))))
        if not problems:
            problems = self._find_problems(np.frombuffer(names, np.int64))
        if problems:
            parts = (f"{len(where)} {what}: {listed(where, len(where))}" for what, where in problems.items())
            raise ValueError(f"{self.table}: {'; '.join(parts)}.")
        if not self._rows:
            raise ValueError(f"{self.table} has no rows.")

    def __len__(self):
        return len(self._rows)

    def name(self, index):
        return os.path.normpath(self.metadata(index)[NAME_KEY])

    def caption(self, index):
        return one_line(self.metadata(index)[self._caption_key], f"{self.table}, row {self._rows[index] + 1}")

    def open(self, index):
        return open(os.path.join(self.where, self.name(index)), "rb")

    def stamp(self, index):
        stat = os.stat(os.path.join(self.where, self.name(index)))
        return stat.st_size, stat.st_mtime_ns

    def metadata(self, index):
        number = self._rows[index]
        start, end = self._ends[number], self._ends[number + 1]
        return self._parse(self._slices.read(self.table, start, end - start), number)

    # Opening ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def _all_rows(self):
        """Every row as a dict, None for an empty line; appends where it ends to `_ends`."""

    @abstractmethod
    def _parse(self, data: bytes, number: int) -> dict:
        """One row from its bytes."""

    def _find_caption_key(self, row: dict) -> str:
        found = [key for key in CAPTION_KEYS if key in row]
        if len(found) != 1:
            raise ValueError(
                f"{self.table} has the columns {', '.join(map(str, row))}: say which is the caption, --caption_key NAME."
            )
        return found[0]

    def _find_problems(self, names) -> dict:
        """What is wrong with the names, known by their hashes (N,): no lists of a million strings are made."""
        order = np.argsort(names, kind="stable")
        twice = order[1:][names[order][1:] == names[order][:-1]]
        unseen = np.flatnonzero(~np.isin(names, _image_hashes(self.where)))  # absent, or behind links and elsewhere
        absent = [index for index in unseen if not os.path.isfile(os.path.join(self.where, self.name(index)))]
        problems = {"images that are named twice": twice, "images that do not exist": absent}
        return {what: [self.name(index) for index in found] for what, found in problems.items() if len(found)}


class JsonLines(TableFolder):
    """metadata.jsonl: one JSON object in every line."""

    def _all_rows(self):
        end = 0
        with open(self.table, "rb") as file:
            for number, line in enumerate(file):
                end += len(line)
                self._ends.append(end)
                yield self._parse(line, number) if line.strip() else None

    def _parse(self, data, number):
        try:
            row = json.loads(data)
        except ValueError as error:
            raise ValueError(f"{self.table}, line {number + 1} is not JSON ({error}).") from error
        if not isinstance(row, dict):
            raise ValueError(f"{self.table}, line {number + 1} must hold one JSON object.")
        return row


class CsvTable(TableFolder):
    """metadata.csv: a line of column names, then rows, quotes as usual. What reads as a number is one for filters."""

    def _all_rows(self):
        with open(self.table, "rb") as file:
            reader = csv.reader(self._lines(file), strict=True)
            self._columns = next(reader, [])
            if NAME_KEY not in self._columns or len(set(self._columns)) < len(self._columns):
                raise ValueError(f"{self.table} must begin with different column names, {NAME_KEY} among them.")
            self._ends[0] = self._position
            try:
                for number, cells in enumerate(reader):
                    self._ends.append(self._position)  # the reader has taken exactly the row's lines
                    yield self._row(cells, number) if cells else None
            except csv.Error as error:
                raise ValueError(f"{self.table}, line {reader.line_num}: {error}.") from error

    def _lines(self, file):
        self._position = 0
        for number, line in enumerate(file):
            self._position += len(line)
            try:
                yield line.decode("utf-8" if number else "utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValueError(f"{self.table}, line {number + 1} is not UTF-8 text: save it as UTF-8.") from error

    def _parse(self, data, number):
        return self._row(next(csv.reader((line.decode("utf-8") for line in io.BytesIO(data)), strict=True)), number)

    def _row(self, cells, number):
        if len(cells) != len(self._columns):
            raise ValueError(f"{self.table}, row {number + 1} has {len(cells)} cells, not {len(self._columns)}.")
        texts = (NAME_KEY, self._caption_key, *CAPTION_KEYS)
        named = zip(self._columns, cells)
        return {key: cell if key in texts else _number_or_text(cell) for key, cell in named if cell != ""}


def _number_or_text(cell: str):
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            pass
    return cell


def _image_hashes(folder: str):
    """Hashes of the paths of all images below a folder (N,): those `hash` gives in this process."""
    found, waiting = array("q"), [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(os.path.join(folder, prefix)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(os.path.join(prefix, entry.name))
                elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                    found.append(hash(os.path.join(prefix, entry.name)))
    return np.frombuffer(found, np.int64)


def open_table(path, caption_key: str = "") -> TableFolder:
    """A metadata file by its suffix."""
    return (CsvTable if str(path).endswith(".csv") else JsonLines)(path, caption_key)
