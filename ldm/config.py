"""What config.py says, as attributes: the working folder's file, else the project's, else the package's own defaults.

Read once, when first asked. A config.py counts if it assigns one of DISTINCTIVE at its top level: whose it is, is seen before
anything of it is executed. The project's may compute its values; in a working folder plain ones are read and nothing is executed.
Standard library only.
"""

import ast
import os
import runpy
from difflib import get_close_matches
from functools import cache
from pathlib import Path

NAME = "config.py"
DEFAULTS = {
    "WEIGHTS_PATH": "models",
    "model_c_version": "1B",
    "model_b_version": "700M",
    "dtype": "float32",
    "text_encoder_name": "text_encoder",
    "image_encoder_name": "image_encoder",
    "tokenizer_name": "tokenizer",
}
CHOICES = {
    "model_c_version": ("1B", "3.6B"),
    "model_b_version": ("700M", "3B"),
    "dtype": ("float32", "float16", "bfloat16"),
}
DISTINCTIVE = DEFAULTS.keys() - {"dtype"}  # other people's config.py assign that, too
PROJECT = Path(__file__).resolve().parents[1]  # the clone; where the package is installed, the folder of all packages


def __getattr__(name: str) -> str:
    if name not in DEFAULTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _in_use()[1][name]


def where() -> str:
    """Which file to edit, for errors: "config.py" of the working folder, the project's path, or that there is none."""
    path = _in_use()[0]
    if path is None:
        return "a config.py in the working folder"
    return NAME if path == Path(NAME).absolute() else str(path)


@cache
def _in_use() -> tuple:
    """(the config.py that counts or None, {name: value}). ValueError, naming the file, for what is wrong in it."""
    project = PROJECT / NAME
    for path in (Path(NAME), *([project] if (PROJECT / "pyproject.toml").is_file() else [])):
        assigned = _assigned(path) if path.is_file() else {}
        if not DISTINCTIVE.isdisjoint(assigned):
            path = path.absolute()
            _check_names(path, assigned)
            values = _executed(path) if path.resolve() == project else _plain(path, assigned)
            return path, DEFAULTS | {name: _checked(path, name, values[name]) for name in assigned if name in DEFAULTS}
    return None, DEFAULTS


def _assigned(path: Path) -> dict:
    """{name: syntax tree of its value} of what a file assigns at its top level; empty for one that is not Python."""
    text = path.read_bytes()
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if any(name.encode() in text for name in DISTINCTIVE):
            raise ValueError(f"{path.absolute()} is no Python that can be read: {error}. Correct it.") from error
        return {}
    assigned = {}
    for statement in body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            stored = [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
            assigned |= {node.id: statement.value for node in stored if isinstance(node.ctx, ast.Store)}
    return assigned


def _check_names(path: Path, names):
    """ValueError for a name that looks like a setting's and is none; others are the user's own."""
    for name in names:
        if name not in DEFAULTS and (meant := get_close_matches(name, DEFAULTS, n=1, cutoff=0.8)):
            raise ValueError(f"{path}: {name} is no setting: do you mean {meant[0]}?")


def _executed(path: Path) -> dict:
    try:
        return runpy.run_path(str(path))
    except Exception as error:
        raise ValueError(f"{path} cannot be executed ({type(error).__name__}: {error}): correct it.") from error


def _plain(path: Path, assigned: dict) -> dict:
    values = {}
    for name in assigned.keys() & DEFAULTS.keys():
        try:
            values[name] = ast.literal_eval(assigned[name])
        except (ValueError, TypeError, MemoryError, RecursionError) as error:
            raise ValueError(
                f"{path}: {name} is computed, and outside the project's own folder nothing of a config.py is executed: write "
                "the value itself."
            ) from error
    return values


def _checked(path: Path, name: str, value) -> str:
    """A value that the setting may have."""
    value = os.fspath(value) if name == "WEIGHTS_PATH" and isinstance(value, os.PathLike) else value
    choices = CHOICES.get(name)
    if not isinstance(value, str) or not value.strip() or (choices and value not in choices):
        wanted = f"one of {', '.join(map(repr, choices))}" if choices else "a text, the name of a folder"
        raise ValueError(f"{path}: {name} is {value!r:.200}, but must be {wanted}.")
    return value
