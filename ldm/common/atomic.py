"""Files that appear under their name only when they are complete."""

import os
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from errno import EDQUOT, EFBIG, ENOSPC
from functools import cache
from pathlib import Path

from ldm.common.child_processes import DAY, is_alive

# .NAME.PROCESS.RANDOM.part; earlier versions did not write the process
UNFINISHED = re.compile(r"\..+?(?:\.(?P<process>\d+))?\.[a-z0-9_]{8}\.part", re.DOTALL)
RUSTS = re.compile(r"\(os error (\d+)\)")
LONGEST_NAME = 200  # bytes of the file's name in the temporary one's, which may have 255


@contextmanager
def atomic_path(path):
    """A temporary path in the same folder that replaces `path` only if the block succeeds; otherwise it is removed.

    An OSError of writing (no space left, ...) names `path`. What killed writers have left in the folder is removed first.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # renaming onto a device would replace it
        raise ValueError(
            f"{path} is {'a folder' if path.is_dir() else 'no regular file'}: give the name of a file to write."
        )
    with file_named_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(os.path.abspath(path.parent))
        name = os.fsdecode(os.fsencode(path.name)[:LONGEST_NAME])
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{name}.{os.getpid()}.", suffix=".part")
        try:
            os.close(handle)
            os.chmod(temporary, 0o644)
            yield Path(temporary)
            os.replace(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)


@contextmanager
def file_named_in_errors(path):
    """Put the file's name into an OSError of a failed write that lacks it."""
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG) or str(error.filename).endswith(".part"):
            error.filename, error.filename2 = str(path), None
        raise
    except Exception as error:
        if match := RUSTS.search(str(error)):  # safetensors' own kind of exception
            raise OSError(int(match[1]), os.strerror(int(match[1])), str(path)) from error
        raise


@cache
def remove_unfinished(folder: str):
    """Remove temporary files of ours from a folder that are a day old and whose process is gone; once for each folder.

    A writer on another machine that shares the folder touches its file more often than that.
    """
    with suppress(OSError):
        for entry in os.scandir(folder):
            if match := UNFINISHED.fullmatch(entry.name):
                with suppress(OSError):  # gone meanwhile, or somebody else's
                    old = time.time() - entry.stat(follow_symlinks=False).st_mtime > DAY
                    if old and not (match["process"] and is_alive(int(match["process"]))):
                        os.unlink(entry.path)
