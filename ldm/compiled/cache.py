"""Compiled programs in a folder: each in a folder of its own, named by a hash of everything it depends on.

What is trusted: a program is run as it is, and Paddle parses its files in C++, so an entry counts only because it was
made here. Its files must be what was written, by sha256; they and their folders must belong to this user and be
writable by nobody else, where the system has owners (POSIX). Who may write as this user may run anything anyway.
"""

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paddle

from ldm.common.hashing import files_of, sha256_of, sha256_together
from ldm.common.json_files import read_json

RECORD = "made_of.json"
SPARE = 1.1  # disk space asked for, relative to what is written
PIECE = 1 << 26  # bytes of a file that one thread hashes
ABANDONED = 86400  # seconds after which nobody is still compiling


def default_folder() -> Path:
    """`stable-cascade-paddle/compiled` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "stable-cascade-paddle" / "compiled"


@paddle.no_grad()
def content_hash(state: dict) -> str:
    """sha256 over every key, shape and value of {key: tensor}: a few seconds for the largest networks.

    `ldm.weights.fingerprint` looks at the first values only, which a LoRA of, say, the values' projection leaves alone.
    """
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(f"{key} {tuple(state[key].shape)}\n".encode())
        digest.update(memoryview(state[key].numpy()).cast("B"))
    return digest.hexdigest()


def source_hash() -> str:
    """One hash of the networks' own source and of what compiles them: another version traces another program."""
    ldm = Path(__file__).resolve().parents[1]
    common = [ldm / "common" / name for name in ("precision.py", "runtime.py")]
    sources = [*files_of(ldm / "networks"), *files_of(ldm / "compiled"), *common]
    return sha256_together({str(path.relative_to(ldm)): sha256_of(path) for path in sources if path.suffix == ".py"})


def checksum(path) -> str:
    """sha256 over the sha256 of every PIECE of a file, as many at a time as there are processors: `hashlib` frees them."""
    size = Path(path).stat().st_size
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        pieces = pool.map(lambda start: _piece_digest(path, start), range(0, max(size, 1), PIECE))
        return hashlib.sha256(b"".join(pieces)).hexdigest()


def _piece_digest(path, start: int) -> bytes:
    digest, left, room = hashlib.sha256(), PIECE, memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while left and (count := file.readinto(room[:left])):
            digest.update(room[:count])
            left -= count
    return digest.digest()


class ProgramCache:
    """Entries of the files `names`. An entry appears under its name only when it is complete.

    say: told in one line of an entry that is damaged, and made again.
    """

    def __init__(self, folder, names, say=print):
        self.folder, self.names, self.say = Path(folder), tuple(names), say
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file: give --compile_cache a folder.")
        if self.folder.is_dir():
            check_private(self.folder)

    def path(self, key: dict) -> Path:
        """Where the entry of `key` is, or would be."""
        return self.folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]

    def get(self, key: dict, make) -> Path:
        """The folder of the entry of `key`; where it is missing or damaged, `make(temporary folder)` writes it.

        Every file of an entry is read once to compare its checksum: 2 GB a second and core that is free, where the
        processor has SHA extensions. ValueError for an entry that somebody else may have written.
        """
        path = self.path(key)
        if path.is_dir():
            problem = self._problem(path, key)
            if problem is None:
                return path
            self.say(f"The compiled program in {path} {problem}: removed, and compiled again.")
        self.discard(key)
        self.make_folder()
        self._remove_abandoned()
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{path.name}."))
        try:
            make(temporary)
            self._write_record(temporary, key)
            try:
                temporary.rename(path)
            except OSError:  # another process was faster
                if self._problem(path, key) is not None:
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return path

    def _remove_abandoned(self):
        """What processes that were killed while compiling have left, gigabytes each; what is younger may be in use."""
        for temporary in self.folder.glob(".*"):
            if (
                re.fullmatch(r"\.[0-9a-f]{32}\..+", temporary.name)
                and time.time() - temporary.stat().st_mtime > ABANDONED
            ):
                shutil.rmtree(temporary, ignore_errors=True)

    def discard(self, key: dict):
        """Remove the entry of `key`, if there is one."""
        path = self.path(key)
        path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path, ignore_errors=True)

    def make_folder(self):
        """The cache's folder, made where it is missing, for this user alone."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        check_private(self.folder)

    def check_room(self, size: int):
        """ValueError unless `size` bytes can be written."""
        self.make_folder()
        free = shutil.disk_usage(self.folder).free
        if free < SPARE * size:
            raise ValueError(
                f"A compiled program takes {size / 1e9:.1f} GB, and the disk of {self.folder} has {free / 1e9:.1f} GB "
                "left: make room, give --compile_cache another folder, or leave out --compile."
            )

    def _write_record(self, folder: Path, key: dict):
        for name in self.names:
            (folder / name).chmod(0o600)
        record = {**key, "sha256": {name: checksum(folder / name) for name in self.names}}
        (folder / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")

    def _problem(self, path: Path, key: dict):
        """What is wrong with an entry, or None. ValueError for one that is not this user's alone."""
        check_private(path)
        try:
            record = read_json(path / RECORD)
            sums = record.pop("sha256", None)
            if not isinstance(sums, dict):
                return "has no checksums"
            if record != json.loads(json.dumps(key)):
                return f"has a {RECORD} of another program"
            for name in self.names:
                check_private(path / name)
                if checksum(path / name) != sums.get(name):
                    return f"is damaged ({name} is not what was written)"
        except FileNotFoundError as error:
            return f"is not complete ({Path(error.filename).name} is missing)"
        except _NotPrivate:
            raise
        except (OSError, ValueError):
            return f"is damaged ({RECORD} or a file beside it cannot be read)"


class _NotPrivate(ValueError):
    """A file or folder that somebody else may have written."""


def check_private(path):
    """ValueError unless a file or folder is this user's and nobody else may write to it. Says nothing on Windows."""
    if not hasattr(os, "getuid"):
        return
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode) and status.st_uid == os.getuid():
        status = os.stat(path)
    if status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return
    mine = status.st_uid == os.getuid()
    whose = "can be written to by other users" if mine else f"belongs to another user (uid {status.st_uid})"
    remedy = f"run chmod go-w {path}, if only you did write there, or give" if mine else "give"
    raise _NotPrivate(
        f"{path} {whose}, and compiled programs are run as they are: {remedy} --compile_cache a folder of your own."
    )
