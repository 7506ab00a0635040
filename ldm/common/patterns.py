"""Choosing layers and parameters by name: by a part of the name, as the release's filters, or by a pattern with * ? [ ]."""

from fnmatch import fnmatchcase

WILDCARDS = "*?["


def matches(name: str, pattern: str) -> bool:
    """Whether `pattern` is contained in `name`, or, with a wildcard in it, matches all of `name`."""
    return fnmatchcase(name, pattern) if any(sign in pattern for sign in WILDCARDS) else pattern in name


def select(names, patterns, what: str) -> list:
    """The names that any pattern matches, in their order. ValueError names every pattern without a match."""
    names = list(names)
    useless = [pattern for pattern in patterns if not any(matches(name, pattern) for name in names)]
    if useless or not patterns:
        raise ValueError(
            f"{what} {' '.join(useless) or '(empty)'}: matches none of {len(names)} names; "
            f"they look like {', '.join(names[:: max(1, len(names) // 3)][:4])}."
        )
    return [name for name in names if any(matches(name, pattern) for pattern in patterns)]
