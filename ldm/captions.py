"""Captions as users give them: texts, or .txt files with one text a line."""

from pathlib import Path


def read_captions(values) -> list[str]:
    """Texts as they are; the lines of every .txt file that is named. FileNotFoundError, ValueError for an empty file."""
    captions = []
    for value in values:
        if not value.endswith(".txt"):
            captions.append(value)
            continue
        if not Path(value).is_file():
            raise FileNotFoundError(f"Caption file {value} does not exist.")
        lines = [line.strip() for line in Path(value).read_text(encoding="utf-8").splitlines()]
        if not any(lines):
            raise ValueError(f"Caption file {value} is empty: write one caption a line.")
        captions += [line for line in lines if line]
    return captions
