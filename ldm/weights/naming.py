"""Errors of checks that do not know which file their values are from: the file is put before the message."""

from contextlib import contextmanager

from ldm.weights.plan import WeightsMismatch


@contextmanager
def errors_name(path):
    """A ValueError raised in the block begins with `path`, unless the message has it already."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        kind = WeightsMismatch if isinstance(error, WeightsMismatch) else ValueError
        raise kind(f"{path}: {error}") from error
