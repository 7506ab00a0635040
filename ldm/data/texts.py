"""Captions and other texts from files that anybody may have written: bounded, UTF-8, one line, errors that name the file."""

import codecs
import os
import stat

LONGEST_CAPTION = 1 << 16  # bytes; CLIP takes 77 tokens, some 300
LONGEST_METADATA = 1 << 20  # bytes of one sample's JSON, or of a table's row
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def open_regular(path):
    """A regular file, opened to be read. OSError for a folder or a device, also for a named pipe, without waiting for it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{printable(path)} is no regular file: replace or remove it.")
    return os.fdopen(descriptor, "rb")


def read_text(path, longest: int) -> str:
    """The text in a file of at most `longest` bytes; ValueError for more, and for other encodings than UTF-8."""
    with open_regular(path) as file:
        data = file.read(longest + 1)
    return decoded(data, printable(path), longest)


def decoded(data: bytes, label: str, longest: int) -> str:
    """Bytes as text, without a byte order mark; `label` says in errors where they are from."""
    if len(data) > longest:
        raise ValueError(f"{label} has more than {longest} bytes: shorten or remove it.")
    if data.startswith(UTF16):
        raise ValueError(f"{label} is not UTF-8 text but UTF-16: save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{label} is not UTF-8 text ({error}): save it as UTF-8.") from error


def one_line(text: str, label: str) -> str:
    """A caption without line breaks and double spaces; ValueError if nothing is left or it is no caption."""
    if len(text) > LONGEST_CAPTION:
        raise ValueError(f"{label} has {len(text)} characters, a caption at most {LONGEST_CAPTION}: shorten it.")
    if "\0" in text:
        raise ValueError(f"{label} has a NUL character in it: it is no text, replace or remove it.")
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"{label} has half a character in it (a lone surrogate): correct it.")
    line = " ".join(text.split())
    if not line:
        raise ValueError(f"{label} is empty: write a caption into it.")
    return line


def printable(text) -> str:
    """A file's name or a value as it can be printed in one line: other letters as Python escapes them."""
    text = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
