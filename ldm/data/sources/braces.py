"""Braces in paths of shards, {000..123} and {a,b}, expanded once it is known that they do not stand for too many."""

import re

MOST = 100_000  # paths of one pattern
LONGEST = 4096  # characters of a pattern
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.-?\d+)?")


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
