"""From what a user names to the paths of tars: commas, globs, and braces as in {000..123} and {a,b}.

Braces are expanded once it is known that they do not stand for too many.
"""

import glob
import os
import re

from ldm.data.sources.source import listed

MOST = 100_000  # paths of one pattern
LONGEST = 4096  # characters of a pattern
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?")


def find_tars(text: str) -> list[str]:
    """Paths from what a user wrote: tars separated by commas, each a path, a glob pattern or with {000..123} braces.

    The order is that of the text, and by name within a pattern. FileNotFoundError names what matches nothing,
    ValueError what is no plain local tar.
    """
    found = []
    for pattern in _split(text):
        if "://" in pattern or pattern.startswith("pipe:"):
            raise ValueError(
                f"--dataset_path {pattern}: only tars on this machine can be read in any order; download it."
            )
        for path in [pattern] if os.path.exists(pattern) else expanded(pattern):
            matches = [path] if os.path.isfile(path) else sorted(glob.glob(path, recursive=True))
            if not matches:
                raise FileNotFoundError(f"--dataset_path {text}: nothing matches {path}.")
            found += matches
    wrong = [path for path in found if not path.endswith(".tar")]
    if wrong:
        raise ValueError(
            f"--dataset_path {text}: {listed(wrong, len(wrong))} is no .tar. Unpack compressed ones (gunzip), and give "
            "folders one at a time."
        )
    if len(set(map(os.path.realpath, found))) < len(found):
        raise ValueError(f"--dataset_path {text} names a tar twice.")
    return found


def _split(text: str) -> list[str]:
    """Pieces between commas that are not inside braces."""
    pieces, depth = [""], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += letter
    return [piece.strip() for piece in pieces if piece.strip()]


def expanded(pattern: str) -> list[str]:
    """The paths a pattern stands for, as the webdataset package expands it; ValueError for more than MOST."""
    from braceexpand import UnbalancedBracesError, braceexpand

    if len(pattern) > LONGEST or most_paths(pattern) > MOST:
        raise ValueError(
            f"--dataset_path {pattern[:200]}: its braces stand for more than {MOST} paths, or it is longer than {LONGEST} "
            "characters. Write globs, 'shards/*.tar', or fewer shards."
        )
    try:
        return list(braceexpand(pattern))
    except UnbalancedBracesError as error:
        raise ValueError(f"--dataset_path {pattern}: a brace is not closed, or not opened.") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--dataset_path {pattern[:200]}: its braces cannot be expanded ({error}).") from error


def most_paths(pattern: str) -> int:
    """A bound on how many paths the braces stand for: the product of every pair's own number."""
    total, open_braces = 1, []
    for place, letter in enumerate(pattern):
        if letter == "{":
            open_braces.append([place, 1])
        elif letter == "," and open_braces:
            open_braces[-1][1] += 1
        elif letter == "}" and open_braces:
            start, count = open_braces.pop()
            total *= max(count, _range_length(pattern[start + 1 : place]))
            if total > MOST:
                return total
    return total


def _range_length(text: str) -> int:
    """How many numbers or letters a range has at most; 1 if it is none."""
    numbers = RANGE.fullmatch(text)
    if numbers is None:
        return 26 * 2 if re.fullmatch(r"[A-Za-z]\.\.[A-Za-z](?:\.\.-?\d+)?", text) else 1
    first, last = numbers.groups()
    return MOST + 1 if max(len(first), len(last)) > 18 else abs(int(first) - int(last)) + 1
