"""Webdataset tars on this machine as a map: KEY.jpg, KEY.txt and KEY.json of a sample lie anywhere in them."""

import os

import numpy as np

from ldm.common.json_files import parse_json
from ldm.data.sources.files import FileSlices, stamp_of
from ldm.data.sources.source import ImageSource, Names, listed
from ldm.data.sources.tar_index import PARTS, indices_of_tars
from ldm.data.texts import LONGEST_CAPTION, LONGEST_METADATA, decoded, one_line, printable

IMAGE, TEXT, JSON = range(len(PARTS))


class TarSource(ImageSource):
    """The samples of several tars, in the order of the tars. Captions come from KEY.txt, or a key of KEY.json.

    Opening reads the kept index of every tar, or its headers where there is none. ValueError names samples without
    what captions are taken from.
    """

    def __init__(self, paths: list, caption_key: str = "", index_dir=None):
        self.paths, self.where, self._caption_key = list(paths), os.path.dirname(paths[0]) or ".", caption_key
        self._stamps, self._slices = list(map(stamp_of, self.paths)), FileSlices()
        for path, stamp in zip(self.paths, self._stamps):
            self._slices.expect(path, *stamp[:2])
        self._names, places, counts = Names(), [], []
        for index in indices_of_tars(self.paths, index_dir):
            self._names.extend(index.names)
            places.append(index.places)
            counts.append(len(index.names))
        self._places, self._starts = np.concatenate(places), np.cumsum([0, *counts])
        if not len(self):
            raise ValueError(f"{listed(self.paths, len(self.paths))}: no samples, KEY.jpg with KEY.txt.")
        part = JSON if caption_key else TEXT
        lacking = np.flatnonzero(self._places[:, part, 1] <= 0)
        if len(lacking):
            names = [self.label(index) for index in lacking[:8]]
            raise ValueError(
                f"{len(lacking)} samples have no or an empty .{PARTS[part]}, which the caption is taken from: "
                f"{listed(names, len(lacking))}. --caption_key NAME takes captions from KEY.json."
            )

    def __len__(self):
        return len(self._names)

    def name(self, index):
        return f"{os.path.basename(self._path(index))}/{self._names[index]}"

    def label(self, index):
        return printable(f"{self._path(index)}/{self._names[index]}")

    def open(self, index):
        return self._slices.open(self._path(index), *self._place(index, IMAGE))

    def read(self, index):
        return self._part(index, IMAGE)

    def stamp(self, index):
        return self._place(index, IMAGE)[1], *self._stamps[self._tar(index)][1:]

    def caption(self, index):
        label = f"The caption of {self.label(index)}"
        if self._caption_key:
            text = self.metadata(index).get(self._caption_key)
            if not isinstance(text, str):
                raise ValueError(f"{self.label(index)}: its .json has no text {self._caption_key!r} (--caption_key).")
            return one_line(text, label)
        return one_line(self._text(index, TEXT, label, LONGEST_CAPTION), label)

    def metadata(self, index):
        if self._places[index, JSON, 1] <= 0:
            raise ValueError(f"{self.label(index)} has no .json beside it, which filters and --caption_key need.")
        label = f"{self.label(index)}: its .json"
        return parse_json(self._text(index, JSON, label, LONGEST_METADATA), label, remedy="write the tar again")

    def metadata_place(self, index):
        return f"the .json of {self.label(index)}"

    def _tar(self, index: int) -> int:
        return int(np.searchsorted(self._starts, index, side="right")) - 1

    def _path(self, index: int) -> str:
        return self.paths[self._tar(index)]

    def _place(self, index: int, part: int) -> tuple[int, int]:
        offset, length = self._places[index, part]
        return int(offset), int(length)

    def _part(self, index: int, part: int) -> bytes:
        return self._slices.read(self._path(index), *self._place(index, part))

    def _text(self, index: int, part: int, label: str, longest: int) -> str:
        offset, length = self._place(index, part)
        data = self._slices.read(self._path(index), offset, min(length, longest + 1))
        return decoded(data, label, longest)
