"""Virtual environments with this project's requirements and another PaddlePaddle, each built once and kept."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / "requirements.txt"
PIN = re.compile(r"^paddlepaddle==(\S+)", re.MULTILINE)
OLDER = ("3.0.0", "3.1.1", "3.2.2")  # the last of each line before the pinned one
PYTHON, OTHER_PYTHONS = "3.11", ("3.10", "3.12")
SIZE = 2.6e9  # bytes of one environment


@dataclass(frozen=True)
class Environment:
    """Which PaddlePaddle under which Python, in a folder of `base`."""

    paddle: str
    python: str
    base: Path

    @property
    def name(self) -> str:
        return f"paddle-{self.paddle}-python{self.python}"

    @property
    def folder(self) -> Path:
        return self.base / self.name

    @property
    def interpreter(self) -> Path:
        return self.folder / "bin" / "python"

    def requirements(self) -> str:
        return PIN.sub(f"paddlepaddle=={self.paddle}", REQUIREMENTS.read_text(encoding="utf-8"))

    def build(self, python: str):
        """Create it with the interpreter `python`, unless it is there with these requirements. OSError says what failed.

        This project is installed anew each time, without what it asks for: its own files stay where they are.
        """
        stamp, wanted = self.folder / ".installed", self.requirements()
        install = [self.interpreter, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            if (free := shutil.disk_usage(self.base).free) < SIZE:
                raise OSError(f"{self.folder} takes {SIZE / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: make room.")
            run([python, "-m", "venv", "--clear", self.folder], self.name)
            listed = self.folder / "requirements.txt"
            listed.write_text(wanted, encoding="utf-8")
            run([*install, "-r", listed], self.name)
            stamp.write_text(wanted, encoding="utf-8")
        run([*install, "--no-deps", "--editable", ROOT], self.name)

    def versions(self) -> dict:
        """{package: version} of all that is installed, and "python"."""
        code = (
            "import sys; from importlib.metadata import distributions as d; print('python', sys.version.split()[0]); "
        )
        code += "[print(each.name.lower(), each.version) for each in d()]"
        return dict(line.split() for line in run([self.interpreter, "-c", code], self.name).splitlines())


def run(command, name: str) -> str:
    """Standard output of a command; OSError with the end of what it said if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"{name}: {' '.join(map(str, command[:4]))} ... failed: {done.stderr.strip()[-600:]}")
    return done.stdout


def pinned() -> str:
    """The PaddlePaddle of requirements.txt."""
    return PIN.search(REQUIREMENTS.read_text(encoding="utf-8"))[1]


def all_environments(base: Path) -> list:
    """The one that requirements.txt describes first: the others' pictures are compared with its."""
    return [
        *(Environment(paddle, PYTHON, base) for paddle in (pinned(), *reversed(OLDER))),
        *(Environment(pinned(), python, base) for python in OTHER_PYTHONS),
    ]


def find_pythons(candidates) -> dict:
    """{"3.11": command} of those commands and paths that start; the first of each version."""
    found = {}
    for command in candidates:
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        try:
            done = subprocess.run([command, "-c", code], capture_output=True, text=True)
        except OSError:
            continue
        if done.returncode == 0:
            found.setdefault(done.stdout.strip(), command)
    return found
