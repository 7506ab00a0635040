"""A bad checkpoint never costs a good one: NaN, a full disk and a second trainer leave what there was as it was."""

import errno
import subprocess
import sys

import paddle
import pytest
from small_release import write_scenes_and_release

from ldm.programs.train import prior as train_prior
from ldm.training.checkpoints.lock import output_lock
from ldm.training.checkpoints.staging import EVIDENCE, STAGING, checkpoint_folders
from ldm.training.trainer import CascadeTrainer

PROGRAM = "train_stage_c_trainer.py"
MODEL = "model_state.pdparams"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder with scenes/, release/ and uninterrupted/, a run of 6 steps with a checkpoint every 2."""
    folder = write_scenes_and_release(tmp_path_factory.mktemp("lost"))
    assert start(folder, folder / "uninterrupted") == 0
    return folder


def start(folder, output, *more) -> int:
    command = (
        f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --output_dir {output} "
        "--resolution 64 --max_steps 6 --save_steps 2 --save_total_limit 1 --ema_decay 0.9 --preflight False "
        "--learning_rate 1e-3 --dataloader_num_workers 0 --logging_steps 1"
    )
    with paddle.utils.unique_name.guard():
        return train_prior([*command.split(), *more])


def spoil_weight(trainer):
    parameter = trainer.task.model.parameters()[3]
    parameter.set_value(parameter * float("nan"))
    return "down_blocks"


def spoil_average(trainer):
    shadow = trainer.average.model.shadow_params[3]
    shadow.set_value(shadow * float("inf"))
    return "the average's unet.down_blocks"


def spoil_moment(trainer):
    moment = next(iter(trainer.optimizer._accumulators["moment1"].values()))
    moment.set_value(moment * float("nan"))
    return "the optimiser's linear_0.w_0_moment1_0"


def test_a_lora_that_is_not_finite_is_kept_aside_too(good, tmp_path, capsys, monkeypatch):
    original = CascadeTrainer.non_finite_tensor
    monkeypatch.setattr(
        CascadeTrainer, "non_finite_tensor", lambda trainer: (spoil_first(trainer), original(trainer))[1]
    )
    assert start(good, tmp_path / "output", "--method", "lora") == 2
    assert "lora.weights" in capsys.readouterr().err and not checkpoint_folders(tmp_path / "output")


def spoil_first(trainer):
    parameter = next(p for p in trainer.task.model.parameters() if not p.stop_gradient)
    parameter.set_value(parameter + float("nan"))


@pytest.mark.parametrize("spoil", [spoil_weight, spoil_average, spoil_moment])
def test_a_state_that_is_not_finite_is_kept_aside_and_the_last_good_checkpoint_stays(
    good, tmp_path, capsys, monkeypatch, spoil
):
    original, named = CascadeTrainer._maybe_log_save_evaluate, []

    def spoiling(trainer, *arguments, **options):
        if trainer.state.global_step == 4:
            named.append(spoil(trainer))
        original(trainer, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(CascadeTrainer, "_maybe_log_save_evaluate", spoiling)
        assert start(good, tmp_path / "output") == 2
    message = capsys.readouterr().err
    line = message[message.rindex(f"{PROGRAM}: ") :]
    assert named[0] in line and "Step 4" in line and str(tmp_path / "output" / EVIDENCE / "checkpoint-4") in line
    assert [path.name for path in checkpoint_folders(tmp_path / "output")] == ["checkpoint-2"]
    assert (tmp_path / "output" / EVIDENCE / "checkpoint-4" / MODEL).is_file()
    assert not (tmp_path / "output" / MODEL).exists()
    assert start(good, tmp_path / "output") == 0  # goes on from checkpoint-2
    assert (tmp_path / "output" / MODEL).read_bytes() == (good / "uninterrupted" / MODEL).read_bytes()


def test_final_weights_that_are_not_finite_do_not_replace_those_of_before(good, tmp_path, capsys, monkeypatch):
    flags = ("--save_strategy", "no")
    assert start(good, tmp_path / "output", *flags) == 0
    before = (tmp_path / "output" / MODEL).read_bytes()
    with monkeypatch.context() as patched:
        original = CascadeTrainer.save_final
        patched.setattr(CascadeTrainer, "save_final", lambda trainer: (spoil_weight(trainer), original(trainer)))
        assert start(good, tmp_path / "output", *flags) == 2
    assert "are not written" in capsys.readouterr().err
    assert (tmp_path / "output" / MODEL).read_bytes() == before


@pytest.mark.parametrize("name", [MODEL, "optimizer.pdopt", "rng_state.pth", "ema.safetensors", "complete.json"])
def test_a_full_disk_costs_nothing_but_the_checkpoint_being_written(good, tmp_path, capsys, monkeypatch, name):
    output, save, write = tmp_path / "output", paddle.save, type(tmp_path).write_text

    def full(path):
        if f"checkpoint-4/.{name}" in str(path) or f"checkpoint-4/{name}" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    def saving(state, path, *arguments, **options):
        full(path)
        return save(state, path, *arguments, **options)

    def writing(path, *arguments, **options):
        full(path)
        return write(path, *arguments, **options)

    def averaging(average, folder, evidence):
        full(f"{folder}/ema.safetensors")
        keep(average, folder, evidence)

    from ldm.training.ema import Average

    keep = Average.save
    with monkeypatch.context() as patched:
        patched.setattr(paddle, "save", saving)
        patched.setattr(type(tmp_path), "write_text", writing)
        patched.setattr(Average, "save", averaging)
        assert start(good, output) == 2
    line = capsys.readouterr().err
    assert "checkpoint-4 could not be written (No space left on device)" in line and "free some space" in line
    assert [path.name for path in checkpoint_folders(output)] == ["checkpoint-2"]
    assert not (output / STAGING / "checkpoint-4").exists()
    assert start(good, output) == 0
    assert (output / MODEL).read_bytes() == (good / "uninterrupted" / MODEL).read_bytes()


# Two trainers -------------------------------------------------------------------------------------------------------

HOLDER = """
import sys
from ldm.training.checkpoints.lock import output_lock
with output_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(good, tmp_path):
    """Another process at work in tmp_path/output."""
    from helpers import ROOT

    command = [sys.executable, "-c", HOLDER, str(tmp_path / "output")]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("more", [(), ("--dry_run", "True", "--preflight", "True"), ("--overwrite_output_dir", "True")])
def test_a_second_trainer_is_refused_by_the_firsts_process_id(good, tmp_path, capsys, holder, more):
    assert start(good, tmp_path / "output", *more) == 2
    assert f"in use by another training (process {holder.pid})" in capsys.readouterr().err
    holder.kill()  # however it ends, the lock goes with it
    holder.wait()
    assert start(good, tmp_path / "output", *more) == 0


def test_the_lock_file_goes_with_the_run_and_a_dry_run_makes_none(tmp_path):
    with output_lock(tmp_path / "a"):
        assert (tmp_path / "a" / ".lock").is_file()
    assert not (tmp_path / "a" / ".lock").exists()
    with output_lock(tmp_path / "b", create=False):
        assert not (tmp_path / "b").exists()


def test_a_forked_worker_does_not_hold_the_lock(tmp_path):
    """And closes nothing else: the number of a lock that was given up may be another file's by then."""
    import os

    with output_lock(tmp_path / "a"):
        pass
    kept = os.open(tmp_path, os.O_RDONLY)
    with output_lock(tmp_path / "b"):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.fstat(kept)  # OSError ends the child with another status
            os.close(write)
            os.read(read, 1)
            os._exit(0)
    try:
        with output_lock(tmp_path / "b"):  # while the child lives
            os.write(write, b"x")
            assert os.waitpid(child, 0)[1] == 0
    finally:
        for handle in (read, write, kept):
            os.close(handle)
