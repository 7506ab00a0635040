"""Compiled programs in a folder: each in a folder of its own, named by a hash of everything it depends on."""

import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path

import paddle

from ldm.hashing import files_of, sha256_of, sha256_together

RECORD = "made_of.json"
SPARE = 1.1  # disk space asked for, relative to what is written


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
    here = Path(__file__).resolve().parent
    sources = [*files_of(here / "networks"), here / "compiled.py", here / "precision.py"]
    return sha256_together({path.name: sha256_of(path) for path in sources if path.suffix == ".py"})


class ProgramCache:
    """Entries of the files `names`. An entry appears under its name only when it is complete."""

    def __init__(self, folder, names):
        self.folder, self.names = Path(folder), tuple(names)
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file: give --compile_cache a folder.")

    def path(self, key: dict) -> Path:
        """Where the entry of `key` is, or would be."""
        return self.folder / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]

    def get(self, key: dict, make) -> Path:
        """The folder of the entry of `key`; where it is missing or not whole, `make(temporary folder)` writes it."""
        path = self.path(key)
        if self._whole(path):
            return path
        self.discard(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{path.name}."))
        try:
            make(temporary)
            sizes = {name: (temporary / name).stat().st_size for name in self.names}
            (temporary / RECORD).write_text(json.dumps({**key, "sizes": sizes}, indent=2), encoding="utf-8")
            try:
                temporary.rename(path)
            except OSError:  # another process was faster
                if not self._whole(path):
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return path

    def discard(self, key: dict):
        """Remove the entry of `key`, if there is one."""
        shutil.rmtree(self.path(key), ignore_errors=True)

    def check_room(self, size: int):
        """ValueError unless `size` bytes can be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < SPARE * size:
            raise ValueError(
                f"A compiled program takes {size / 1e9:.1f} GB, and the disk of {self.folder} has {free / 1e9:.1f} GB "
                "left: make room, give --compile_cache another folder, or leave out --compile."
            )

    def _whole(self, path: Path) -> bool:
        """Whether an entry has all its files, of the sizes they were written with."""
        try:
            sizes = json.loads((path / RECORD).read_text(encoding="utf-8"))["sizes"]
            return all((path / name).stat().st_size == sizes[name] for name in self.names)
        except (OSError, ValueError, KeyError, TypeError):
            return False
