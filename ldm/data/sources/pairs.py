"""An image-text folder: every image has a caption file of the same stem beside it, and the other way round."""

import os
from pathlib import Path
from typing import Optional

from ldm.common.json_files import parse_json
from ldm.data.sources.files import stamp_of
from ldm.data.sources.source import ImageSource, Names, listed
from ldm.data.texts import LONGEST_CAPTION, LONGEST_METADATA, one_line, open_regular, printable, read_text

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
        self._scan(os.fsencode(self.folder))
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

    def _path(self, index: int, suffix: Optional[str] = None) -> str:
        """The image's file, or the one with another suffix beside it."""
        path = f"{self.folder}{os.sep}{self._images[index]}"
        return path if suffix is None else os.path.splitext(path)[0] + suffix

    def open(self, index):
        return open_regular(self._path(index))

    def stamp(self, index):
        return stamp_of(self._path(index))

    def caption(self, index):
        path = self._path(index, self._captions.get(index, CAPTION_SUFFIX))
        return one_line(read_text(path, LONGEST_CAPTION), printable(path))

    def metadata(self, index):
        path = self._path(index, METADATA_SUFFIX)
        try:
            text = read_text(path, LONGEST_METADATA)
        except FileNotFoundError as error:
            raise ValueError(f"{printable(path)} does not exist: --data_filter needs it beside the image.") from error
        return parse_json(text, printable(path), remedy="correct or remove it")

    def metadata_place(self, index):
        return printable(self._path(index, METADATA_SUFFIX))

    # Opening ----------------------------------------------------------------------------------------------------

    def _scan(self, folder: bytes):
        """Take in a folder and those in it, however deep, in the order of their names."""
        open_folders = [self._take_in(folder, b"")]
        while open_folders:
            inner = next(open_folders[-1], None)
            if inner is None:
                open_folders.pop()
            else:
                open_folders.append(self._take_in(*inner))

    def _take_in(self, folder: bytes, prefix: bytes):
        """Take in a folder's images; gives (folder, prefix) of each folder in it when its turn comes."""
        images, captions, folders = self._listing(folder, prefix)
        stems = set()
        for name in sorted(images + list(folders)):
            if name in folders:
                yield os.path.join(folder, name), prefix + name + b"/"
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

    def _listing(self, folder: bytes, prefix: bytes) -> tuple[list, dict, set]:
        """What is in a folder: names of images, {stem: suffix} of captions, names of folders."""
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
                if suffix.lower() not in (*IMAGE_SUFFIXES, CAPTION_SUFFIX):
                    continue
                if not is_regular(entry):
                    self._problem("names of images or captions that are no files", prefix + name)
                elif suffix.lower() in IMAGE_SUFFIXES:
                    images.append(name)
                else:
                    captions[stem] = suffix
                    if entry.stat().st_size == 0:
                        self._problem("caption files that are empty", prefix + name)
        return images, captions, folders

    def _problem(self, label: str, name: bytes):
        names = self._problems.setdefault(label, [])
        names.append(os.fsdecode(name))

    def _listed(self) -> str:
        return "; ".join(
            f"{len(names)} {label}: {listed(names, len(names))}" for label, names in self._problems.items()
        )


def is_regular(entry: os.DirEntry) -> bool:
    """Whether it is a file or a link to one; False for pipes, devices, and links to folders, nothing or themselves."""
    try:
        return entry.is_file()
    except OSError:
        return False


def check_folder(folder):
    """FileNotFoundError, saying where a first dataset comes from, unless `folder` is one."""
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"The dataset folder {folder} does not exist: give --dataset_path an image-text folder "
            "(scripts/make_photo_dataset.py writes one to try with)."
        )
