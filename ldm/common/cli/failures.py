"""What an exception means to a user: one line with the remedy, or a bug of ours and its report. Standard library only."""

import dis
import errno
import os
import platform
import re
import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path

# How messages of Paddle's C++ code end: such an error is about our own call of it, not about the user's input
PADDLES_CODE = re.compile(r"\(at [^()\s]+\.(?:cc|cu|h|hpp|kps):\d+\)")
OUT_OF_MEMORY = re.compile(
    r"ResourceExhausted|Fail to alloc memory|[Cc]annot allocate|[Oo]ut of memory|bad_alloc|CUBLAS_STATUS_ALLOC_FAILED"
)
NO_ROOM_FOR_CODE = ("failed to map segment", "can't start new thread")
DEAD_WORKER = re.compile(
    r"DataLoader process \(pid|DataLoader \d+ workers? exit|Blocking queue is killed because the data reader"
)
ASKED = (
    (re.compile(r"Fail to alloc memory of (\d+) size"), lambda number: f"{int(number) / 2**30:.1f} GiB at once"),
    (re.compile(r"Cannot allocate (\S+ ?[KMGT]?i?B) memory"), lambda size: f"{size} at once"),
    (re.compile(r"Unable to allocate (\S+ [KMGTPE]?i?B)"), lambda size: f"{size} at once"),
)

FREE_SPACE = "free some space, or choose another folder or file to write"
REMEDIES = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "the system allows no larger file there (ulimit -f): raise that, or choose another folder or file to write",
    errno.EROFS: "choose another folder or file to write",
    errno.EACCES: "change its permissions (and its folder's), or name another",
    errno.EPERM: "change its permissions (and its folder's), or name another",
    errno.EMFILE: "allow more open files (ulimit -n), or use fewer worker processes",
    errno.ENFILE: "close other programs: the whole system has no more open files to give",
    errno.EIO: "the disk or network folder failed: check it, then start again",
    errno.EEXIST: "choose another name, or remove what is there",
    errno.ENOENT: "check the spelling",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a folder",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENOMEM: "close other programs, or give this one less to do at once",
}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
LONGEST = 4000  # characters of a line
PACKAGES = (
    "paddlepaddle",
    "paddlepaddle-gpu",
    "paddlenlp",
    "numpy",
    "safetensors",
    "pillow",
)  # whose versions a report has


def line_of(error: BaseException):
    """The line for an error that users can cause or meet, with its remedy; None for a bug of ours."""
    if isinstance(error, MemoryError) or _is_paddles_memory(error) or _is_librarys_memory(error):
        return _memory(error)
    text = str(error)
    if DEAD_WORKER.search(text):
        return (
            "A worker process of the data loader died, perhaps for lack of memory: start again with fewer "
            "--dataloader_num_workers; with 0 what is wrong shows itself."
        )
    if PADDLES_CODE.search(text):
        return None
    if isinstance(error, OSError):
        return _system(error)
    if isinstance(error, ModuleNotFoundError):
        return None if (error.name or "").split(".")[0] == "ldm" else f"{text}: install requirements.txt."
    if type(error).__name__ == "SafetensorError":
        return f"A safetensors file is damaged or cannot be read ({one_line(text)}): download or write it again."
    if isinstance(error, RecursionError):
        return f"Something is nested too deeply to be read ({one_line(text)}): look into the files given; --debug shows where."
    if isinstance(error, OverflowError):
        return f"A number is too large ({one_line(text)}): look at the numbers given; --debug shows where."
    if isinstance(error, FloatingPointError) or (isinstance(error, ValueError) and _said_on_purpose(error)):
        return one_line(text)
    return None


def one_line(text: str) -> str:
    """A message without line breaks, and not longer than a screen."""
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _is_paddles_memory(error) -> bool:
    """Paddle raises MemoryError on a CPU, and other kinds where a GPU or another library was asked."""
    return isinstance(error, (RuntimeError, SystemError, OSError)) and bool(
        PADDLES_CODE.search(str(error)) and OUT_OF_MEMORY.search(str(error))
    )


def _is_librarys_memory(error) -> bool:
    """A library finds no room for itself, or for the stack of a thread, or does not say what it lacks."""
    text = str(error)
    if isinstance(error, SystemError) and "error return without exception set" in text:
        return _memory_is_limited()  # C code that forgets to say MemoryError, as cffi's parser does
    return isinstance(error, (ImportError, OSError, RuntimeError)) and any(sign in text for sign in NO_ROOM_FOR_CODE)


def _memory_is_limited() -> bool:
    """Whether this process may not have all of the machine's memory (`ulimit -v`)."""
    try:
        import resource
    except ImportError:  # not on Windows
        return False
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _memory(error) -> str:
    asked = next((say(match[1]) for pattern, say in ASKED if (match := pattern.search(str(error)))), "")
    return (
        f"Not enough memory{f' ({asked})' if asked else ''}: ask for less at once (smaller images, a smaller batch, fewer "
        "worker processes), or close other programs."
    )


def _system(error: OSError) -> str:
    """An OSError that the system raised, in words; one of ours as it is."""
    if error.errno is None or error.strerror is None:
        return one_line(str(error))
    name = error.filename2 if error.filename2 is not None else error.filename
    if name is None and error.errno in NO_ROOM:
        name = "standard output, or a file being written"  # files of results are named where they are written
    where = f"{_shown(name)}: " if name is not None else ""
    remedy = REMEDIES.get(error.errno)
    return f"{where}{error.strerror}{f': {remedy}' if remedy else ''}."


def _shown(name) -> str:
    """A file name for a message: a temporary one as what it would have become."""
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    path = Path(text)
    match = re.fullmatch(r"\.(.+?)(\.\d+)?\.[a-z0-9_]{8}\.part", path.name)
    return str(path.with_name(match[1])) if match else text


def _said_on_purpose(error: ValueError) -> bool:
    """Whether a `raise` made it, or it is of a subclass, such as an error of decoding. Others come from calls that went wrong
    (reshape, int, unpack): nobody has written that message for the user."""
    if type(error) is not ValueError:
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]


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
