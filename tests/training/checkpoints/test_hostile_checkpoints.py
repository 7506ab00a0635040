"""Somebody else's checkpoint, and damaged ones: nothing of them is executed, nothing wrong is continued, nothing is lost.

Each case spoils one file of a good checkpoint and, as an attacker would, writes the list of files and checksums anew.
"""

import json
import os
import pickle
import shutil

import numpy as np
import paddle
import pytest
from hostile_contents import CASES, MODEL, OPTIMISER, first, list_anew
from safetensors.numpy import load_file, save_file
from small_release import write_scenes_and_release

from ldm.programs.train import prior as train_prior
from ldm.training.checkpoints.export import extract_unet
from ldm.training.checkpoints.staging import MANIFEST, problem_of
from ldm.weights.pickles import read_pickle

PROGRAM = "train_stage_c_trainer.py"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with scenes/, release/ and output/, in which a run has made checkpoint-2 and checkpoint-4."""
    folder = write_scenes_and_release(tmp_path_factory.mktemp("hostile"))
    assert start(folder, folder / "output", 4) == 0
    return folder


def start(folder, output, steps: int, *more) -> int:
    """Run or continue the training in this process; its exit status."""
    command = (
        f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --output_dir {output} "
        f"--resolution 64 --max_steps {steps} --save_steps 2 --ema_decay 0.9 --loss_weight adaptive --preflight False "
        "--learning_rate 1e-3 --dataloader_num_workers 0 --logging_steps 1"
    )
    with paddle.utils.unique_name.guard():
        return train_prior([*command.split(), *more])


@pytest.fixture
def spoilt(good, tmp_path):
    """A copy of the output folder with checkpoint-4 alone, to be spoilt."""
    shutil.copytree(good / "output" / "checkpoint-4", tmp_path / "output" / "checkpoint-4")
    return tmp_path / "output" / "checkpoint-4"


def contents(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(good, checkpoint, capsys, *more) -> str:
    """Continue from the checkpoint; the single line of refusal. Nothing of the folder may change."""
    before = contents(checkpoint)
    capsys.readouterr()
    status = start(good, checkpoint.parent, 6, *more)
    error = capsys.readouterr().err
    line = error[error.rindex(f"{PROGRAM}: ") :].strip()
    assert status == 2 and "\n" not in line and "Traceback" not in error, error
    assert contents(checkpoint) == before
    return line


# Pickles ------------------------------------------------------------------------------------------------------------


class Runs:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", ["model_state.pdparams", "optimizer.pdopt", "scheduler.pdparams", "rng_state.pth"])
def test_a_pickle_that_runs_code_is_refused(good, spoilt, tmp_path, capsys, name, listed):
    state = read_pickle(spoilt / name)
    (spoilt / name).write_bytes(pickle.dumps({**state, "extra": Runs(tmp_path / "marker")}, protocol=4))
    list_anew(spoilt)
    if not listed:
        (spoilt / MANIFEST).unlink()
    if listed or name != "scheduler.pdparams":
        assert name in refused(good, spoilt, capsys) and not (tmp_path / "marker").exists()
    start(good, spoilt.parent, 6, "--dry_run", "True", "--preflight", "True")
    assert not (tmp_path / "marker").exists()


def test_pickles_that_nothing_reads_are_not_read(good, spoilt, tmp_path, capsys):
    (spoilt / "training_args.bin").write_bytes(pickle.dumps(Runs(tmp_path / "marker")))
    list_anew(spoilt)
    assert start(good, spoilt.parent, 6) == 0 and not (tmp_path / "marker").exists()


@pytest.mark.parametrize("case", CASES)
def test_wrong_contents_are_refused_by_name(good, spoilt, capsys, case):
    name, spoil = CASES[case]
    spoil(spoilt)
    list_anew(spoilt)
    line = refused(good, spoilt, capsys)
    assert str(spoilt / name) in line, line


MANIFESTS = {
    "a list": "[]",
    "empty": "",
    "not JSON": "{",
    "without files": "{}",
    "no files": '{"bytes": {}}',
    "sizes that are texts": '{"bytes": {"model_state.pdparams": "1"}}',
    "a file elsewhere": '{"bytes": {"../../secret": 1}}',
    "an absolute path": '{"bytes": {"/etc/passwd": 1}}',
    "checksums of nothing": '{"bytes": {"networks.json": 1}, "sha256": {"other": "x"}}',
    "nested": "[" * 100_000,
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_damaged_list_makes_a_checkpoint_incomplete(good, spoilt, capsys, case):
    (spoilt / MANIFEST).write_text(MANIFESTS[case])
    assert problem_of(spoilt) is not None
    line = refused(good, spoilt, capsys, "--resume_from_checkpoint", str(spoilt))
    assert MANIFEST in line and str(spoilt) in line


@pytest.mark.parametrize("name", [MODEL, OPTIMISER, "ema.safetensors", "networks.json"])
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_taken(good, tmp_path, capsys, name):
    output = tmp_path / "output"
    for step in (2, 4):
        shutil.copytree(good / "output" / f"checkpoint-{step}", output / f"checkpoint-{step}")
    path = output / "checkpoint-4" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    assert start(good, output, 4) == 0
    said = capsys.readouterr().out
    assert f"Skipping {output / 'checkpoint-4'}: its {name} is not what was written" in said
    for file in (MODEL, "ema.safetensors"):  # written anew, with the same bits
        assert (output / "checkpoint-4" / file).read_bytes() == (good / "output" / "checkpoint-4" / file).read_bytes()


def test_a_list_of_an_earlier_version_has_no_checksums(good, spoilt):
    listed = json.loads((spoilt / MANIFEST).read_text())
    (spoilt / MANIFEST).write_text(json.dumps({"bytes": listed["bytes"]}))
    assert problem_of(spoilt, contents=True) is None
    assert start(good, spoilt.parent, 6) == 0


def test_an_average_of_integers_is_not_extracted(good, spoilt, tmp_path):
    path = spoilt / "ema.safetensors"
    tensors = load_file(path)
    tensors[first(tensors, "clf")] = tensors[first(tensors, "clf")].astype(np.int32)
    save_file(tensors, path, {"optimization_step": "4"})
    list_anew(spoilt)
    with pytest.raises(ValueError, match="ema.safetensors: 'unet.clf.* is I32, an average is F32"):
        extract_unet(spoilt, tmp_path / "prior.safetensors", ema=True)
    assert not (tmp_path / "prior.safetensors").exists()
