"""The report of a bug: a file with the traceback, the command line and the versions. Standard library only."""

import os
import platform
import sys
import tempfile
import traceback
from importlib import metadata

PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddlenlp", "numpy", "safetensors", "pillow")


def write_report(program: str, argv, error: BaseException):
    """Write the report into the system's folder for temporary files; its path, or None if even that fails."""
    try:
        handle, path = tempfile.mkstemp(prefix=f"{program.removesuffix('.py')}-report-", suffix=".txt")
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write("\n".join([*_facts(program, argv), "", *traceback.format_exception(error)]))
    except OSError:
        return None
    return path


def _facts(program: str, argv):
    yield f"command: {program} {' '.join(map(repr, argv))}"
    yield f"folder: {os.getcwd()}"
    yield f"Python {sys.version.split()[0]} on {platform.platform()}"
    for name in PACKAGES:
        try:
            yield f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
