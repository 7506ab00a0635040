"""A folder of images with one metadata.jsonl or metadata.csv that names each image and its caption."""

import csv
import io
import math
import os
from abc import abstractmethod
from array import array
from itertools import count
from pathlib import Path

import numpy as np

from ldm.common.json_files import parse_json
from ldm.data.sources.files import FileSlices, stamp_of
from ldm.data.sources.pairs import IMAGE_SUFFIXES, is_regular
from ldm.data.sources.source import ImageSource, listed
from ldm.data.texts import LONGEST_METADATA, decoded, one_line, open_regular, printable

TABLES = ("metadata.jsonl", "metadata.csv")
NAME_KEY = "file_name"  # as in Hugging Face's image folders
CAPTION_KEYS = ("text", "caption")  # where --caption_key does not say which


class TableFolder(ImageSource):
    """The images that the rows of `table` name, in its order: file_name relative to the table, caption in `caption_key`.

    Opening reads the table once and lists the folders; of every row only the place is kept. ValueError names the rows
    that lack a name or a caption, name an image twice, one that does not exist, or one outside the table's folder: a
    table from somebody else could name any file of this machine. Other columns are metadata.
    """

    def __init__(self, table, caption_key: str = ""):
        self.table, self.where = os.fspath(table), str(Path(table).parent)
        self._slices, self._ends = FileSlices(), array("q", [0])
        self._slices.expect(self.table, *stamp_of(self.table)[:2])
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
            elif leaves_folder(name):
                problems.setdefault(f"rows whose {NAME_KEY} is not below the table's folder", []).append(label)
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
        return open_regular(os.path.join(self.where, self.name(index)))

    def metadata_place(self, index):
        return printable(self.table)

    def stamp(self, index):
        return stamp_of(os.path.join(self.where, self.name(index)))

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
                f"{self.table} has the columns {listed(list(row), len(row), 20)}: say which is the caption, --caption_key NAME."
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

    def _lines(self):
        """(number, bytes) of every line, none longer than LONGEST_METADATA."""
        with open_regular(self.table) as file:
            for number in count():
                line = file.readline(LONGEST_METADATA + 1)
                if not line:
                    return
                if len(line) > LONGEST_METADATA:
                    raise ValueError(
                        f"{self.table}, line {number + 1} has more than {LONGEST_METADATA} bytes: shorten it (lines end "
                        "with LF or CR LF; a file whose lines end with CR alone is one line)."
                    )
                yield number, line


class JsonLines(TableFolder):
    """metadata.jsonl: one JSON object in every line."""

    def _all_rows(self):
        end = 0
        for number, line in self._lines():
            end += len(line)
            self._ends.append(end)
            yield self._parse(line, number) if line.strip() else None

    def _parse(self, data, number):
        label = f"{self.table}, line {number + 1}"
        return parse_json(decoded(data, label, LONGEST_METADATA), label, remedy="correct the line")


class CsvTable(TableFolder):
    """metadata.csv: a line of column names, then rows, quotes as usual. What reads as a number is one for filters."""

    def _all_rows(self):
        reader = csv.reader(self._decoded_lines(), strict=True)
        try:
            self._columns = next(reader, [])
            if NAME_KEY not in self._columns or len(set(self._columns)) < len(self._columns):
                raise ValueError(f"{self.table} must begin with different column names, {NAME_KEY} among them.")
            self._ends[0] = self._position
            for number, cells in enumerate(reader):
                self._ends.append(self._position)  # the reader has taken exactly the row's lines
                yield self._row(cells, number) if cells else None
        except csv.Error as error:
            cr = " (its lines end with CR alone: save it with LF)" if "new-line character" in str(error) else ""
            raise ValueError(f"{self.table}, line {reader.line_num}: {error}{cr}.") from error

    def _decoded_lines(self):
        self._position = 0
        for number, line in self._lines():
            self._position += len(line)
            if self._position - self._ends[-1] > LONGEST_METADATA:  # a quoted cell may have many lines
                raise ValueError(
                    f"{self.table}, line {number + 1} belongs to a row of more than {LONGEST_METADATA} bytes: shorten it, "
                    "or close a quote before it."
                )
            label = f"{self.table}, line {number + 1}"
            yield decoded(line, label, LONGEST_METADATA) if not number else _utf8(line, label)

    def _parse(self, data, number):
        label = f"{self.table}, row {number + 1}"
        lines = (_utf8(line, label) for line in io.BytesIO(data))
        try:
            return self._row(next(csv.reader(lines, strict=True)), number)
        except (csv.Error, StopIteration) as error:
            raise ValueError(f"{label} has changed since it was opened: start again.") from error

    def _row(self, cells, number):
        if len(cells) != len(self._columns):
            raise ValueError(f"{self.table}, row {number + 1} has {len(cells)} cells, not {len(self._columns)}.")
        texts = (NAME_KEY, self._caption_key, *CAPTION_KEYS)
        named = zip(self._columns, cells)
        return {key: cell if key in texts else _number_or_text(cell) for key, cell in named if cell != ""}


def _utf8(line: bytes, label: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{label} is not UTF-8 text: save it as UTF-8.") from error


def leaves_folder(name: str) -> bool:
    """Whether a relative path leads anywhere but below its folder, or is none."""
    return os.path.isabs(name) or os.path.normpath(name).split(os.sep, 1)[0] == os.pardir or "\0" in name


def _number_or_text(cell: str):
    """A cell that is a finite number as such; "nan", "inf" and "1_000", which Python would also take, are texts."""
    if "_" in cell:
        return cell
    for kind in (int, float):
        try:
            value = kind(cell)
        except ValueError:
            continue
        if isinstance(value, int) or math.isfinite(value):
            return value
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
                elif entry.name.lower().endswith(IMAGE_SUFFIXES) and is_regular(entry):
                    found.append(hash(os.path.join(prefix, entry.name)))
    return np.frombuffer(found, np.int64)


def open_table(path, caption_key: str = "") -> TableFolder:
    """A metadata file by its suffix."""
    return (CsvTable if str(path).endswith(".csv") else JsonLines)(path, caption_key)
