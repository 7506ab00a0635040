"""JSON from files that may be damaged or hostile: bounded, of the expected kind, every complaint names the file."""

import json
from pathlib import Path

LARGEST = 64 << 20  # bytes; of what the project reads, a vocabulary is the largest with about one million
NAMES = {dict: "an object {...}", list: "a list [...]"}


def read_json(path, kind=dict, remedy: str = "download or write it again", largest: int = LARGEST):
    """What the JSON file `path` holds, a `kind`. ValueError, which ends with the remedy, for anything else."""
    path = Path(path)
    if (size := path.stat().st_size) > largest:
        raise ValueError(f"{path} has {size} bytes, more than the {largest} that such a file may have: {remedy}.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): {remedy}.") from error
    return parse_json(text, str(path), kind, remedy)


def parse_json(text: str, where: str, kind=dict, remedy: str = "download or write it again"):
    """The same for a text; `where` says in errors what it is."""
    try:
        value = json.loads(text, object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError(f"{where} is nested too deeply to be read: {remedy}.") from None
    except ValueError as error:  # also of numbers with thousands of digits
        raise ValueError(f"{where} is not JSON ({error}): {remedy}.") from error
    if not isinstance(value, kind):
        raise ValueError(
            f"{where} holds a {type(value).__name__} where {NAMES.get(kind, kind.__name__)} belongs: {remedy}."
        )
    return value


def unique_keys(pairs) -> dict:
    """An object's (key, value) pairs as a dictionary; which of two values under one key counts is not for us to guess."""
    content, seen = dict(pairs), set()
    if len(content) < len(pairs):
        raise ValueError(f"the key {next(key for key, _ in pairs if key in seen or seen.add(key))!r:.100} occurs twice")
    return content
