"""Content hashes of files."""

import hashlib
from pathlib import Path

CHUNK = 1 << 22  # bytes read at once


def sha256_of(path, advance=None) -> str:
    """sha256 of a file, read in pieces; `advance(bytes)` is called after each, for a progress bar."""
    with open(path, "rb") as file:
        return sha256_of_open(file, advance)


def sha256_of_open(file, advance=None) -> str:
    """The same of an open binary file, from where it is to its end."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK):
        digest.update(chunk)
        if advance is not None:
            advance(len(chunk))
    return digest.hexdigest()


def files_of(folder) -> list[Path]:
    """The files directly in a folder, hidden ones left out, by name."""
    return sorted(path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("."))


def sha256_together(hashes: dict[str, str]) -> str:
    """One hash for {name: sha256}."""
    return hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()
