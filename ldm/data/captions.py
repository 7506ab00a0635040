"""Captions as users give them: texts, or .txt files with one text a line."""

import stat
from pathlib import Path

LARGEST_FILE = 64 << 20  # bytes
LONGEST = 10_000  # characters; the text tower reads 77 tokens
REMEDY = "write one caption a line, as UTF-8 text"


def read_captions(values, flag: str = "--caption", may_be_empty: bool = False) -> list[str]:
    """Texts as they are; the lines of every .txt file that is named.

    FileNotFoundError, ValueError for what is no caption, naming the file and the line, or the flag. may_be_empty: a text,
    not a line, may be the empty caption.
    """
    captions = []
    for value in values:
        if value.endswith(".txt"):
            captions += _lines(Path(value))
        else:
            captions.append(value if may_be_empty and not value else checked(value, flag))
    return captions


def _lines(path: Path) -> list[str]:
    lines = [line.strip() for line in _text(path).splitlines()]
    if not any(lines):
        raise ValueError(f"Caption file {path} is empty: {REMEDY}.")
    return [checked(line, f"Caption file {path}, line {number}") for number, line in enumerate(lines, 1) if line]


def _text(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"Caption file {path} does not exist.") from None
    if not stat.S_ISREG(found.st_mode):
        kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no ordinary file"
        raise ValueError(f"Caption file {path} is {kind}: name a file, {REMEDY}.")
    if found.st_size > LARGEST_FILE:
        raise ValueError(f"Caption file {path} has {found.st_size} bytes, more than {LARGEST_FILE}: split it.")
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"Caption file {path}, line {line}: not UTF-8 text ({error.reason}): {REMEDY}.") from None


def checked(caption: str, where: str) -> str:
    """A caption as it is; ValueError, which begins with `where`, if it is none."""
    if not caption.strip():
        raise ValueError(f"{where} is empty: say what the picture shows.")
    if len(caption) > LONGEST:
        raise ValueError(f"{where} has {len(caption)} characters, more than {LONGEST}: shorten it, 77 tokens are read.")
    for place, letter in enumerate(caption, 1):
        if letter != "\t" and ord(letter) < 32 and letter not in "\n\r":
            raise ValueError(f"{where}: character {place} is the control character {ord(letter):#04x}: remove it.")
        if 0xD800 <= ord(letter) <= 0xDFFF:
            raise ValueError(f"{where}: character {place} is not UTF-8 text: write it as UTF-8.")
    return caption
