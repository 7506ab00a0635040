"""Which config.py counts, that nobody else's is executed, and that what is wrong in one is one line with file and name."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from ldm import config
from ldm.networks.variants import STAGE_B, STAGE_C


@pytest.fixture
def read(tmp_path, monkeypatch):
    """read(text of the working folder's config.py, of the project's): (its values, what errors call it)."""
    working, project = tmp_path / "working", tmp_path / "project"
    for folder in (working, project):
        folder.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setattr(config, "PROJECT", project)
    monkeypatch.setattr(config, "_in_use", config._in_use.__wrapped__)

    def values(own=None, projects=None, clone=True):
        if clone:
            (project / "pyproject.toml").touch()
        for folder, text in ((working, own), (project, projects)):
            if text is not None:
                (folder / "config.py").write_bytes(text if isinstance(text, bytes) else text.encode())
        return config._in_use()[1], config.where()

    return values


def test_the_file_that_users_edit_says_the_packages_defaults():
    written = {name: value for name, value in runpy.run_path(str(ROOT / "config.py")).items() if name[0] != "_"}
    assert written == config.DEFAULTS and list(written) == list(config.DEFAULTS)


def test_choices_are_the_released_sizes():
    assert set(config.CHOICES["model_c_version"]) == set(STAGE_C)
    assert set(config.CHOICES["model_b_version"]) == set(STAGE_B)


def test_the_working_folder_wins_then_the_project_then_the_package(read, tmp_path):
    assert read() == (config.DEFAULTS, "a config.py in the working folder")
    values, where = read(projects='WEIGHTS_PATH = "theirs"\nmodel_c_version = "3.6B"\n')
    assert (values["WEIGHTS_PATH"], values["model_c_version"], values["dtype"]) == ("theirs", "3.6B", "float32")
    assert where == str(tmp_path / "project" / "config.py")
    values, where = read('WEIGHTS_PATH: str = "mine"\n')
    assert (values["WEIGHTS_PATH"], values["model_c_version"], where) == ("mine", "1B", "config.py")


def test_the_project_may_compute_and_name_helpers(read):
    text = "from pathlib import Path\nBASE = Path('a')\nWEIGHTS_PATH = BASE / 'b'\n"
    assert read(projects=text)[0]["WEIGHTS_PATH"] == "a/b"


@pytest.mark.parametrize(
    "text",
    [
        "open('executed', 'w')\nbatch_size, dtype = 12, 'bfloat16'\n",
        "open('executed', 'w')\ndef f():\n    WEIGHTS_PATH = 'x'\n",
        "open('executed', 'w')\nmodel.WEIGHTS_PATH = 'x'\nsettings['tokenizer_name'] = 'y'\n",
        "print 'Python 2'\n",
        b"\xff\xfe\x00",
        "(" * 100_000,
    ],
    ids=["another project's", "inside a function", "of an object", "Python 2", "no text", "nested"],
)
def test_other_peoples_files_are_ignored_and_not_executed(read, text, tmp_path):
    for values, where in (read(text), read(projects=text)):
        assert (values, where) == (config.DEFAULTS, "a config.py in the working folder")
    assert not list(tmp_path.rglob("executed"))


def test_beside_an_installed_package_no_file_counts(read):
    assert read(projects='WEIGHTS_PATH = "of another package"\n', clone=False)[0] == config.DEFAULTS


@pytest.mark.parametrize(
    "text, said",
    [
        ('WEIGHTS_PATH = ""\n', "WEIGHTS_PATH is '', but must be a text, the name of a folder."),
        ("WEIGHTS_PATH = 3\n", "WEIGHTS_PATH is 3, but must be a text, the name of a folder."),
        ('model_c_version = "2B"\n', "model_c_version is '2B', but must be one of '1B', '3.6B'."),
        (
            'WEIGHTS_PATH = "x"\ndtype = "half"\n',
            "dtype is 'half', but must be one of 'float32', 'float16', 'bfloat16'.",
        ),
        ('WEIGHTS_PATH = "x"\nmodel_c_verison = "1B"\n', "model_c_verison is no setting: do you mean model_c_version?"),
        ("WEIGHT_PATH = 'x'\nmodel_c_version = '1B'\n", "WEIGHT_PATH is no setting: do you mean WEIGHTS_PATH?"),
        (
            'WEIGHTS_PATH = "x"\ndtype = \n',
            "is no Python that can be read: invalid syntax (<unknown>, line 2). Correct it.",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_file_and_name(read, text, said, tmp_path):
    for folder, texts in (("working", (text,)), ("project", ("# nothing", text))):
        with pytest.raises(ValueError) as error:
            read(*texts)
        assert str(error.value).startswith(str(tmp_path / folder / "config.py")) and said in str(error.value)
        assert "\n" not in str(error.value)


def test_a_working_folders_file_is_never_executed(read):
    with pytest.raises(ValueError, match="WEIGHTS_PATH is computed.*write the value itself"):
        read("WEIGHTS_PATH = __import__('os').mkdir('executed')\n")
    assert not Path("executed").exists()


def test_a_project_that_cannot_be_executed_is_one_line(read):
    with pytest.raises(ValueError, match=r"project/config.py cannot be executed \(NameError: name 'folder'"):
        read(projects="WEIGHTS_PATH = folder\n")


def test_unknown_settings_are_no_attributes():
    with pytest.raises(AttributeError, match="no attribute 'model_d_version'"):
        config.model_d_version


def test_programs_say_it_in_one_line(tmp_path):
    (tmp_path / "config.py").write_text('WEIGHTS_PATH = "x"\ndtype = "half"\n')
    command = [sys.executable, ROOT / "inference.py", "--caption", "a fox"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"inference.py: {tmp_path / 'config.py'}: dtype is 'half'")
