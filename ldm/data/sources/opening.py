"""From what a user names as dataset to its source: a folder of pairs, a folder with a metadata table, or tars."""

import os
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ldm.data.sources.filters import Filter
from ldm.data.sources.mix import Subset
from ldm.data.sources.pairs import PairFolder, check_folder
from ldm.data.sources.source import ImageSource
from ldm.data.sources.tables import TABLES, open_table
from ldm.data.sources.tar_paths import find_tars
from ldm.data.sources.tars import TarSource


def open_source(path, caption_key: str = "", data_filter: str = "", index_dir=None) -> ImageSource:
    """The images and captions at `path`, those that `data_filter` keeps.

    path: a folder, a metadata.jsonl or .csv, or tars as `find_tars` reads them. caption_key: the column or JSON key of
    the captions. index_dir: where what was read from headers is kept, beside the data if None. ValueError and
    FileNotFoundError name what is wrong.
    """
    keep = Filter(data_filter) if data_filter else None  # a mistake in it is said before minutes of reading
    source = _open(path, caption_key, index_dir)
    return filtered(source, keep) if keep else source


def _open(path, caption_key: str, index_dir) -> ImageSource:
    text = os.fspath(path)
    if os.path.isfile(text) and text.endswith((".jsonl", ".csv")):
        return open_table(text, caption_key)
    if not os.path.isdir(text):
        if ".tar" not in text:
            check_folder(text)
        return TarSource(find_tars(text), caption_key, index_dir)
    tables = [Path(text, name) for name in TABLES if Path(text, name).is_file()]
    if len(tables) > 1:
        raise ValueError(f"{text} has both {' and '.join(TABLES)}: give --dataset_path the file that counts.")
    if tables:
        return open_table(tables[0], caption_key)
    if caption_key:
        raise ValueError(f"--caption_key {caption_key}: the captions of {text} are the .txt files. Leave the flag out.")
    return PairFolder(path)


def filtered(source: ImageSource, keep: Filter) -> Subset:
    """The samples whose metadata `keep` says yes to; ValueError if none is left."""
    progress = tqdm(range(len(source)), desc="Filtering", leave=False, disable=len(source) < 10000)
    kept = [index for index in progress if keep(source.metadata(index), source, index)]
    if not kept:
        raise ValueError(f"--data_filter {keep.text!r} keeps none of the {len(source)} samples of {source.where}.")
    print(f"--data_filter keeps {len(kept)} of {len(source)} samples.")
    return Subset(source, np.array(kept, np.int64))
