"""The installed package: what is in it, that it works from any folder, that its commands are programs of their own name."""

import ast
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, packages_distributions

import pytest
from helpers import ROOT
from small_release import write_scenes_and_release

import ldm

CODE = {path.relative_to(ROOT) for path in (ROOT / "ldm").rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that the project has been installed into, from a copy without anything that was built before."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    shutil.copytree(ROOT / "ldm", source / "ldm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for other in ("tests", "assets", "scripts"):  # beside the package, as in the clone
        (source / other).mkdir()
        (source / other / "__init__.py").touch()
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", target, source]
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *install], check=True)
    return target


@pytest.fixture
def run(installed, tmp_path, monkeypatch):
    """run(command or "-c", ...): what it says, in an empty folder, with the installed package and nothing of the clone."""
    monkeypatch.setenv("PYTHONPATH", str(installed))

    def started(command, *arguments, status=0):
        program = [command] if command == "-c" else [str(installed / "bin" / command)]
        command = [sys.executable, *program, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == status, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout + done.stderr

    return started


@pytest.fixture(scope="module")
def distribution(installed) -> Distribution:
    """What the installed package says of itself."""
    return next(iter(Distribution.discover(name="stable-cascade-paddle", path=[str(installed)])))


def test_it_holds_all_of_ldm_and_nothing_else(installed, distribution):
    files = {path.relative_to(installed) for path in installed.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    others = {path.parts[0] for path in files - CODE}
    assert CODE <= files and CODE
    assert others == {"bin", f"stable_cascade_paddle-{ldm.__version__}.dist-info"}
    commands = {command.name for command in distribution.entry_points}
    assert {path.name for path in files if path.parts[0] == "bin"} == commands and len(commands) > 10


def test_it_says_what_it_is(distribution):
    assert distribution.version == ldm.__version__
    assert distribution.metadata["License-Expression"] == "Apache-2.0"
    assert f"## {ldm.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for command in distribution.entry_points:
        assert callable(command.load()), command


def test_every_import_is_declared(distribution):
    """In pyproject.toml and, pinned, in requirements.txt; what only the demo's judge needs, in requirements-test.txt."""
    declared = {name_of(line) for line in distribution.requires} | {"scikit-image", "scikit-learn", "scipy"}
    pinned = "\n".join((ROOT / name).read_text() for name in ("requirements.txt", "requirements-test.txt"))
    pinned = {name_of(line) for line in pinned.splitlines() if line and line[0] != "#"}
    imported = set()
    for path in (ROOT / "ldm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            imported |= {name.split(".")[0] for name in names}
    packages = packages_distributions()
    for module in imported - sys.stdlib_module_names - {"ldm"}:
        names = {name.lower().replace("-gpu", "") for name in packages[module]}
        assert names & declared and names & pinned, f"{module}: {names}"
    assert declared <= pinned


def name_of(requirement: str) -> str:
    """The package of a line such as "numpy>=1.26,<2"."""
    for index, letter in enumerate(requirement):
        if letter in "<>=!~[ #;":
            return requirement[:index].lower()
    return requirement.lower()


ELSEWHERE = """
import sys
import ldm
from ldm.pipeline import GenerationSettings, StableCascade
settings = GenerationSettings(height=256, width=256, steps=1, decoder_steps=1)
print(ldm.__file__, StableCascade(sys.argv[1])("a fox", settings=settings, progress=False).shape)
try:
    StableCascade()
except FileNotFoundError as error:
    print(error)
"""


def test_it_works_from_any_folder(run, installed, rule_release, tmp_path):
    """A generation; and without weights, where no demo lies beside the package, a line that says what to do."""
    said = run("-c", ELSEWHERE, rule_release)
    assert f"{installed / 'ldm' / '__init__.py'} (1, 256, 256, 3)" in said
    assert (
        "The weights folder models does not exist. Download the Stable Cascade release into it (README, 'Weights'), or point "
        "WEIGHTS_PATH in a config.py in the working folder or --weights at the folder that has it.\n" in said
    )
    assert not list(tmp_path.iterdir())


def test_a_command_speaks_of_itself_by_its_name(run, tmp_path):
    assert run("stable-cascade-extract", status=2).startswith("stable-cascade-extract: --checkpoint_path, --model_file")
    (tmp_path / "config.py").write_text('WEIGHTS_PATH = ""\n')
    assert f"{tmp_path / 'config.py'}: WEIGHTS_PATH is ''" in run("stable-cascade-convert-unet", status=2)


@pytest.mark.slow
def test_a_prior_is_converted_trained_and_extracted(run, tmp_path):
    write_scenes_and_release(tmp_path)
    run("stable-cascade-convert-unet", "--input", "release", "--output", "paddle")
    flags = "--weights_path release --dataset_path scenes --output_dir out --do_train --max_steps 2 --resolution 64"
    run("stable-cascade-train", *flags.split(), "--per_device_train_batch_size", 2)
    said = run("stable-cascade-extract", "--checkpoint_path", "out", "--model_file", "tuned.safetensors")
    assert (
        "Use it: stable-cascade --prior_weights tuned.safetensors" in said
        and (tmp_path / "tuned.safetensors").is_file()
    )
    assert {path.name for path in (tmp_path / "paddle").iterdir()} == {
        "stage_b_lite.safetensors",
        "stage_c_lite.safetensors",
    }
