"""The READMEs keep their promises: commands and flags exist, paths exist, the two languages show the same code."""

import re

import pytest
from helpers import ROOT, run_python

READMES = ["README.md", "README_zh.md"]


def code_blocks(name: str) -> list:
    return re.findall(r"```(\w*)\n(.*?)```", (ROOT / name).read_text(encoding="utf-8"), flags=re.S)


def commands(name: str) -> list:
    """Every command line of the shell blocks, continued lines joined, comments and notebook marks removed."""
    lines = []
    for language, block in code_blocks(name):
        if language == "sh":
            joined = re.sub(r"\\\n\s*", " ", block)
            lines += [re.sub(r"\s+#.*", "", line).strip().lstrip("!") for line in joined.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("name", READMES)
def test_flags_are_known_to_the_script_they_are_given_to(name):
    """Each script's --help is asked for once, in one process."""
    scripts = sorted({word for line in commands(name) for word in line.split() if word.endswith(".py")})
    assert "inference.py" in scripts and len(scripts) >= 6
    code = """
import contextlib, io, runpy, sys
sys.path.insert(0, "scripts")  # as Python has it for a script
for script in sys.argv[1:]:
    out = io.StringIO()
    sys.argv = [script, "--help"]
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    print("@@", script)
    print(out.getvalue())
"""
    chunks = run_python(code, *scripts).split("@@ ")[1:]
    helps = {script: text for script, _, text in (chunk.partition("\n") for chunk in chunks)}
    for line in commands(name):
        script = next((word for word in line.split() if word.endswith(".py")), None)
        for flag in re.findall(r"\s(--\w+)", line) if script else []:
            assert flag in helps[script], f"{name}: {script} does not know {flag}"


@pytest.mark.parametrize("name", READMES)
def test_make_targets_and_paths_exist(name):
    makefile = (ROOT / "Makefile").read_text()
    for target in {line.split()[1] for line in commands(name) if line.startswith("make ")}:
        assert re.search(rf"^{target}:", makefile, flags=re.M), f"{name}: make {target}"
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    table = re.findall(r"^\| (`.*?) \|", text.split("## File guide")[-1].split("## 文件导览")[-1], flags=re.M)
    paths = [path for cell in table for path in re.findall(r"`([\w./]+)`", cell)]
    assert len(links) >= 3 and len(paths) >= 15
    for path in links + paths:
        assert (ROOT / path).exists() or (ROOT / "ldm" / path).exists(), f"{name} names {path}"


def test_the_two_languages_show_the_same_code():
    def bare(name):
        return [re.sub(r"\s*#.*", "", block) for _, block in code_blocks(name)]

    assert bare("README.md") == bare("README_zh.md")


def test_the_snippet_runs(rule_release, monkeypatch):
    """The Python snippet of the first screen, on the stand-in release and at its smallest."""
    block = next(block for language, block in code_blocks("README.md") if language == "python")
    code = block.replace('"models"', repr(str(rule_release))).replace(
        "height=832, width=1216", "height=256, width=320, steps=1, decoder_steps=1"
    )
    scope = {}
    exec(code, scope)
    assert scope["images"].shape == (2, 256, 320, 3)
