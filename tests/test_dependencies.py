"""Every package that is imported is declared in the requirement file of who imports it, and nothing is declared for no reason."""

import ast
import re
import sys
from functools import lru_cache

import pytest
from helpers import ROOT

DISTRIBUTIONS = {  # import name -> distribution, where they differ
    "PIL": "pillow",
    "cv2": "opencv-python",
    "paddle": "paddlepaddle",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
RUN, TEST, PEER = "requirements.txt", "requirements-test.txt", "benchmarks/requirements-peer.txt"
PRODUCT = [ROOT / "ldm", ROOT / "scripts", *ROOT.glob("*.py")]
IMPORTERS = {  # requirement files -> whose imports they cover
    (RUN,): PRODUCT,
    (RUN, TEST): [ROOT / "tests"],
    (RUN, TEST, PEER): [ROOT / "benchmarks"],
}
OPTIONAL = {  # imported where it is used, with a line that says what to install: (file, distribution)
    ("ldm/demo/photos.py", "scikit-image"),
    ("ldm/demo/photos.py", "scikit-learn"),
    ("ldm/demo/evaluation/measures.py", "scikit-image"),
}
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)\s*(?P<version>[=<>!~][^#]*?)\s*(?:#\s*(?P<reason>.*))?")


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@lru_cache(maxsize=None)
def declared(file: str) -> dict[str, str]:
    """{distribution: why}, the line's own comment after the last heading above it."""
    found, heading = {}, ""
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading = line
        elif line:
            match = REQUIREMENT.fullmatch(line)
            assert match, f"{file}: {line!r} has no version"
            assert normalised(match["name"]) not in found, f"{file} names {match['name']} twice"
            found[normalised(match["name"])] = f"{heading} {match['reason'] or ''}"
    return found


@lru_cache(maxsize=None)
def our_modules() -> frozenset:
    """Import names that are files or folders of this project."""
    paths = [path for place in (*PRODUCT, ROOT / "tests", ROOT / "benchmarks") for path in python_files(place)]
    return frozenset({path.stem for path in paths} | {path.parent.name for path in paths} | {"ldm"})


def python_files(place) -> list:
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


def imported_packages(path) -> set[str]:
    """The distributions that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.partition(".")[0])
    return {normalised(DISTRIBUTIONS.get(name, name)) for name in names - our_modules() - sys.stdlib_module_names}


@pytest.mark.parametrize("files", IMPORTERS, ids=" ".join)
def test_every_import_is_declared(files):
    known = set().union(*map(declared, files))
    for path in (path for place in IMPORTERS[files] for path in python_files(place)):
        name = path.relative_to(ROOT).as_posix()
        missing = {package for package in imported_packages(path) - known if (name, package) not in OPTIONAL}
        assert not missing, f"{name} imports {sorted(missing)}: declare it in {files[-1]}, its version and the reason"


def test_optional_packages_are_still_imported_there_and_declared_for_the_tests():
    for name, package in OPTIONAL:
        assert package in imported_packages(ROOT / name) and package in declared(TEST)


@pytest.mark.parametrize("file", [RUN, TEST, PEER])
def test_nothing_is_declared_that_nobody_imports(file):
    """But for what a comment says is needed all the same: "not imported", on the line or in the heading above it."""
    places = [place for files, places in IMPORTERS.items() if file in files for place in places]
    if file == RUN:
        places = PRODUCT  # what only tests import belongs to the tests' file
    used = set().union(*(imported_packages(path) for place in places for path in python_files(place)))
    if file == TEST:
        used |= {package for _, package in OPTIONAL}
    for package, reason in declared(file).items():
        assert package in used or "not imported" in reason.lower(), f"{file} declares {package}, which nobody imports"
        assert package not in used or "not imported" not in reason.lower(), f"{file}: {package} is imported"
