"""An image-text folder: every image has a caption file of the same stem beside it, and the other way round."""

import json
import os
from pathlib import Path

from ldm.data.names import Names
from ldm.data.source import ImageSource, listed, one_line

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
CAPTION_SUFFIX = ".txt"
METADATA_SUFFIX = ".json"


class PairFolder(ImageSource):
    """All pairs below `folder`, nested folders included, hidden ones left out, ordered by path.

    Files are paired by path without suffix, never by position, so one missing file cannot shift the others. Opening
    lists the folders and looks at no file but the captions' sizes. ValueError names images without caption, captions
    without image, stems with two images and empty captions. NAME.json beside a pair is its metadata.
    """

    def __init__(self, folder):
        self.where, self.folder = str(folder), os.fspath(folder)
        check_folder(folder)
        self._images, self._captions = Names(), {}  # captions only where the name is not the image's with .txt
        self._problems = {}
        self._scan(os.fsencode(self.folder), b"")
        if self._problems:
            raise ValueError(f"{folder}: {self._listed()}. Every image needs a caption NAME.txt beside NAME.jpg.")
        if not len(self):
            raise ValueError(
                f"{folder} has no images ({', '.join(IMAGE_SUFFIXES)}) with captions ({CAPTION_SUFFIX}), and no "
                f"metadata.jsonl or metadata.csv. For tars give --dataset_path '{folder}/*.tar'."
            )
        del self._problems

    def __len__(self):
        return len(self._images)

    def name(self, index):
        return self._images[index]

    def path(self, index: int) -> Path:
        """The image's file."""
        return Path(self.folder, self._images[index])

    def open(self, index):
        return open(self.path(index), "rb")

    def stamp(self, index):
        stat = os.stat(self.path(index))
        return stat.st_size, stat.st_mtime_ns

    def caption(self, index):
        path = self.path(index).with_suffix(self._captions.get(index, CAPTION_SUFFIX))
        try:
            return one_line(path.read_text(encoding="utf-8"), str(path))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 text ({error}): save it as UTF-8.") from error

    def metadata(self, index):
        path = self.path(index).with_suffix(METADATA_SUFFIX)
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ValueError(f"{path} does not exist: a filter needs it beside the image.") from error
        except ValueError as error:
            raise ValueError(f"{path} is not JSON ({error}).") from error
        if not isinstance(metadata, dict):
            raise ValueError(f"{path} must hold one JSON object.")
        return metadata

    # Opening ----------------------------------------------------------------------------------------------------

    def _scan(self, folder: bytes, prefix: bytes):
        """Take in a folder and those in it, in the order of their names."""
        images, captions, folders = [], {}, set()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(b"."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.add(name)
                    continue
                stem, dot, suffix = name.rpartition(b".")
                suffix = (dot + suffix).decode("utf-8", "replace")
                if suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                    images.append(name)
                elif suffix.lower() == CAPTION_SUFFIX and entry.is_file():
                    captions[stem] = suffix
                    if entry.stat().st_size == 0:
                        self._problem("caption files that are empty", prefix + name)
        stems = set()
        for name in sorted(images + list(folders)):
            if name in folders:
                self._scan(os.path.join(folder, name), prefix + name + b"/")
                continue
            stem = name.rpartition(b".")[0]
            if stem in stems:
                self._problem("images that share their name with another", prefix + name)
            elif stem not in captions:
                self._problem("images without a caption file", prefix + name)
            elif captions[stem] != CAPTION_SUFFIX:
                self._captions[len(self)] = captions[stem]
            stems.add(stem)
            self._images.append(prefix + name)
        for stem in sorted(captions.keys() - stems):
            self._problem("caption files without an image", prefix + stem + captions[stem].encode())

    def _problem(self, label: str, name: bytes):
        names = self._problems.setdefault(label, [])
        names.append(os.fsdecode(name))

    def _listed(self) -> str:
        return "; ".join(
            f"{len(names)} {label}: {listed(names, len(names))}" for label, names in self._problems.items()
        )


def check_folder(folder):
    """FileNotFoundError, saying where a first dataset comes from, unless `folder` is one."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The dataset folder {folder} does not exist: give --dataset_path an image-text folder "
            "(scripts/make_photo_dataset.py writes one to try with)."
        )
