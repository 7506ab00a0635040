"""Who may import whom, read from the source: lower layers never import higher ones, siblings not each other."""

import ast
from pathlib import Path

import pytest
from helpers import ROOT

# From the bottom up; the members of one row are siblings. A name stands for a module or a whole package of ldm.
LAYERS = [
    {"common", "config", "sizes"},
    {"data", "diffusion", "images", "networks"},
    {"compiled", "weights"},
    {"adapters"},
    {"clip"},
    {"frozen"},
    {"conditions", "features"},
    {"modes", "stage"},
    {"generation"},
    {"model_b", "model_c"},
    {"pipeline", "training"},
    {"demo", "parity", "programs"},
]
LAYER_OF = {name: index for index, names in enumerate(LAYERS) for name in names}
SOURCES = sorted((ROOT / "ldm").rglob("*.py"))
PROGRAMS = sorted([*ROOT.glob("*.py"), *(ROOT / "scripts").glob("*.py")])


def imports(path: Path, module_level: bool = False) -> set:
    """Dotted names a file imports: anywhere in it, or only when it is imported itself."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if module_level else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the package, so that the direction can be seen"
            assert all(alias.name != "*" for alias in node.names), f"{path}: star import of {node.module}"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def unit(path: Path) -> str:
    """The part of ldm a source file belongs to."""
    first = path.relative_to(ROOT / "ldm").parts[0]
    return first.removesuffix(".py")


def uses(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=[str(path.relative_to(ROOT)) for path in paths])


@named(SOURCES)
def test_lower_layers_do_not_import_higher_ones(path):
    own = unit(path)
    if own == "__init__":
        assert not [name for name in imports(path) if uses(name, "ldm")]
        return
    assert own in LAYER_OF, f"{path} is new: say in LAYERS where it belongs"
    for name in imports(path):
        if not uses(name, "ldm"):
            continue
        other = name.split(".")[1]
        assert other == own or LAYER_OF[other] < LAYER_OF[own], f"{path} imports {name}"


@named(SOURCES)
def test_programs_and_torch_are_not_imported_by_the_package(path):
    outside = {program.stem for program in PROGRAMS}
    for name in imports(path):
        assert not any(uses(name, module) for module in outside | {"scripts", "tests"}), f"{path} imports {name}"
        assert not any(uses(name, module) for module in ("torch", "torchvision", "diffusers", "transformers")), (
            f"{path} imports {name}"
        )


@named([path for path in SOURCES if unit(path) != "demo"] + sorted(ROOT.glob("*.py")))
def test_the_demo_is_for_scripts_tests_and_benchmarks_only(path):
    assert not [name for name in imports(path) if uses(name, "ldm.demo")]


@named(SOURCES)
def test_paddlenlp_stays_where_it_belongs(path):
    for name in imports(path):
        if uses(name, "paddlenlp.transformers"):
            assert path.parent.name == "clip", f"{path} imports {name}: CLIP is loaded in ldm/clip/folder.py"
        elif uses(name, "paddlenlp") or uses(name, "ppdiffusers"):
            assert unit(path) == "training", f"{path} imports {name}: the Trainer belongs to ldm/training"


@named(SOURCES + PROGRAMS)
def test_optional_packages_are_imported_where_they_are_used(path):
    for name in imports(path, module_level=True):
        assert name.split(".")[0] not in {"cv2", "gradio", "webdataset", "sklearn", "skimage", "torch"}, (
            f"{path} imports {name} on import"
        )


@named([path for path in SOURCES if unit(path) in ("networks", "diffusion")])
def test_networks_and_diffusion_need_only_paddle_and_numpy(path):
    allowed = {
        "paddle",
        "numpy",
        "ldm",
        "math",
        "dataclasses",
        "functools",
        "typing",
        "contextlib",
        "collections",
        "itertools",
        "os",
    }
    assert {name.split(".")[0] for name in imports(path)} <= allowed


def test_config_imports_nothing():
    assert imports(ROOT / "config.py") == set()


def test_the_layers_name_what_exists():
    existing = {unit(path) for path in SOURCES}
    assert set(LAYER_OF) <= existing, f"LAYERS lists what is gone: {sorted(set(LAYER_OF) - existing)}"
