"""Whatever is wrong with the inputs: one message that names it and the remedy, exit status 2, and nothing is written.

`PYTHONPATH=tests python tests/training/flags/test_bad_inputs.py` writes docs/bad_inputs.md anew from what the trainer really says.
"""

import re
import subprocess
import sys
from pathlib import Path

import bad_checkpoints  # noqa: F401  (the cases register themselves)
import bad_data  # noqa: F401
import bad_flags  # noqa: F401
import bad_inputs
import bad_weights  # noqa: F401
import pytest
from bad_inputs import Inputs
from helpers import ROOT
from PIL import Image

from ldm.programs.train import prior as train_prior

TABLE = ROOT / "docs" / "bad_inputs.md"
PROGRAM = "train_stage_c_trainer.py"
SECTIONS = ("data", "flags", "weights", "checkpoints", "cache")
CASES = dict(sorted(bad_inputs.CASES.items(), key=lambda item: SECTIONS.index(item[1][0])))
HEAD = f"""# What wrong inputs get

Every row is a case in `tests/training/flags`, run through `{PROGRAM}`: the message is what it really says (written
by `PYTHONPATH=tests python tests/training/flags/test_bad_inputs.py`, kept in step by a test), the exit status is 2, and the
output folder gets no file. `...` stands for the folder of the test.
"""


@pytest.fixture(scope="session")
def three_pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("three") / "pictures")


def write_pictures(folder) -> Path:
    folder.mkdir(parents=True)
    for number, colour in enumerate(("red", "green", "blue")):
        Image.linear_gradient("L").convert("RGB").resize((64, 64)).rotate(90 * number).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a {colour} gradient")
    return folder


def files_below(folder: Path) -> dict:
    if folder.is_file():
        return {folder: folder.read_bytes()}
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shortened(message: str, folder: Path) -> str:
    """The message without this machine's paths, without what differs from run to run."""
    message = message.replace(str(folder), "...").replace(str(ROOT), ".").strip()
    message = re.sub(r"\d+\.\d\d(?= GiB)", "N", message)
    return re.sub(r"(?<=[a-z] )\d+\.\d\d(?= \+|\))", "N", message)


def row(name: str, message: str) -> str:
    """A row of the table."""
    text = message.removeprefix(f"{PROGRAM}: ").replace("|", "\\|").replace("\n", "<br>")
    return f"| {CASES[name][1].__doc__} | {text} |"


def run_case(name: str, inputs: Inputs, monkeypatch, capture) -> str:
    """The trainer's answer to a case: what it prints to stderr, checked to be an error and to write nothing."""
    prepared = CASES[name][1](inputs)
    more, patches = prepared if isinstance(prepared, tuple) else (prepared or [], {})
    for target, value in patches.items():
        monkeypatch.setattr(target, value)
    before = files_below(inputs.output)
    capture()
    try:
        status = train_prior([*inputs.flags, *more])
    except SystemExit as stop:  # the parser's own
        status = stop.code
    message = capture()
    assert status == 2, message
    assert files_below(inputs.output) == before
    return message


def last_message(stderr: str) -> str:
    """What the program says, from its name on; before it the libraries' log may stand."""
    start = stderr.rfind(f"{PROGRAM}: ")
    assert start >= 0, stderr
    return stderr[start:]


@pytest.mark.parametrize("name", CASES)
def test_a_bad_input_is_one_clear_error(name, tmp_path, rule_release, three_pictures, monkeypatch, capsys):
    inputs = Inputs(tmp_path, rule_release, three_pictures)
    message = last_message(run_case(name, inputs, monkeypatch, lambda: capsys.readouterr().err))
    for piece in CASES[name][2]:
        assert piece in message, message
    assert "Traceback" not in message
    assert row(name, shortened(message, tmp_path)) in TABLE.read_text(encoding="utf-8"), (
        "docs/bad_inputs.md says something else: write it again as its first lines say"
    )


def test_the_table_has_every_case_and_nothing_else():
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [line for line in rows if not line.startswith("| input |")]
    assert len(CASES) >= 30
    assert [line.split(" | ")[0] for line in rows] == [f"| {function.__doc__}" for _, function, _ in CASES.values()]


@pytest.mark.parametrize("name", ["no_caption", "odd_resolution", "prior_cut_off"])
def test_on_the_command_line_it_is_the_same(name, tmp_path, rule_release, three_pictures):
    inputs = Inputs(tmp_path, rule_release, three_pictures)
    more = CASES[name][1](inputs) or []
    command = [sys.executable, PROGRAM, *inputs.flags, *more]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert row(name, shortened(last_message(done.stderr), tmp_path)) in TABLE.read_text(encoding="utf-8")
    assert not files_below(inputs.output)


def write_table():
    """Run every case and write docs/bad_inputs.md."""
    import contextlib
    import io
    import tempfile

    from ldm.common.runtime import prepare
    from ldm.demo.rule_release import write_rule_release

    prepare()
    lines, section = [HEAD], None
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        release, pictures = Path(folder, "release"), write_pictures(Path(folder, "pictures"))
        write_rule_release(release)
        for name, (part, _, _) in CASES.items():
            if part != section:
                lines += [f"\n## {part.capitalize()}\n", "| input | message |", "|---|---|"]
                section = part
            inputs, stderr = Inputs(Path(folder, name), release, pictures), io.StringIO()
            with contextlib.redirect_stderr(stderr), patch.context() as patched:
                try:
                    message = last_message(run_case(name, inputs, patched, stderr.getvalue))
                except AssertionError as error:
                    message = f"{PROGRAM}: FAILED {str(error)[-300:]}"
            missing = [piece for piece in CASES[name][2] if piece not in message]
            lines.append(row(name, shortened(message, inputs.folder)))
            print(name, "lacks" if missing else "ok", missing or "", flush=True)
            if missing:
                print("   ", message)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_table()
