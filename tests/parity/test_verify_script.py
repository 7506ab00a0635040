"""scripts/verify_parity.py as a program: what it prints and the status it exits with."""

import json

import numpy as np
import pytest
import verify_parity
from helpers import REFERENCE
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


def copy_record(source, target, change=lambda tensors, config: None):
    """Copy a recording with `change` applied to its tensors and its config."""
    tensors = load_file(source)
    with safe_open(source, "np") as file:
        config = json.loads(file.metadata()["config"])
    change(tensors, config)
    save_file(tensors, target, metadata={"config": json.dumps(config)})


def verify(capsys, *arguments):
    """(exit status, printed lines) of the script."""
    status = verify_parity.main([str(argument) for argument in arguments])
    return status, capsys.readouterr().out.splitlines()


def test_intact_copy_passes(tmp_path, capsys):
    copy_record(REFERENCE / "previewer.safetensors", tmp_path / "previewer_copied.safetensors")
    status, lines = verify(capsys, tmp_path)
    assert status == 0 and lines[1].startswith("previewer_copied") and lines[1].endswith("ok")
    assert lines[-1] == "1 of 1 rows passed"


def test_unknown_file(tmp_path, capsys):
    copy_record(REFERENCE / "previewer.safetensors", tmp_path / "something_else.safetensors")
    status, lines = verify(capsys, tmp_path)
    assert status == 1 and "UNKNOWN" in lines[1] and "1 did not" in lines[-1]


@pytest.mark.parametrize(
    "name, key", [("previewer", "out.image"), ("stage_a_tiny", "out.decoded"), ("stage_c_tiny", "out.pred")]
)
def test_one_tampered_number_is_a_miss(tmp_path, capsys, name, key):
    def tamper(tensors, config):
        tensors[key].flat[7] += np.abs(tensors[key]).max()

    copy_record(REFERENCE / f"{name}.safetensors", tmp_path / f"{name}.safetensors", tamper)
    status, lines = verify(capsys, tmp_path)
    assert status == 1 and sum("MISS" in line for line in lines) == 1


def test_tampered_gradient_is_named(tmp_path, capsys):
    key = "up_blocks.1.0.channelwise.0.weight"

    def tamper(tensors, config):
        tensors[f"grad.{key}"] *= 1.001

    copy_record(REFERENCE / "stage_c_tiny.safetensors", tmp_path / "stage_c_tiny.safetensors", tamper)
    status, lines = verify(capsys, tmp_path)
    misses = [line for line in lines if "MISS" in line]
    assert status == 1 and len(misses) == 1 and key[:20] in misses[0]


def test_result_that_no_check_reads_is_reported(tmp_path, capsys):
    def add(tensors, config):
        tensors["out.image_of_another_kind"] = np.ones(3, np.float32)

    copy_record(REFERENCE / "previewer.safetensors", tmp_path / "previewer.safetensors", add)
    status, lines = verify(capsys, tmp_path)
    assert status == 1 and lines[1].endswith("ok")
    assert "UNKNOWN" in lines[2] and "out.image_of_another_kind" in lines[2]


def test_infinite_output_is_a_miss(tmp_path, capsys):
    def spoil(tensors, config):
        tensors["out.image"][:] = np.nan

    copy_record(REFERENCE / "previewer.safetensors", tmp_path / "previewer.safetensors", spoil)
    assert verify(capsys, tmp_path)[0] == 1


def test_another_salt_is_another_network(tmp_path, capsys):
    def salted(tensors, config):
        config["salt"] = "other"

    copy_record(REFERENCE / "previewer.safetensors", tmp_path / "previewer.safetensors", salted)
    status, lines = verify(capsys, tmp_path)
    assert status == 1 and "MISS" in lines[1]


def test_broken_recording_is_a_row_and_not_the_end(tmp_path, capsys):
    def forget(tensors, config):
        del tensors["weights.clf.1.bias"]

    copy_record(REFERENCE / "stage_b_tiny.safetensors", tmp_path / "stage_b_tiny.safetensors", forget)
    copy_record(REFERENCE / "previewer.safetensors", tmp_path / "previewer.safetensors")

    def misname(tensors, config):
        config["c_hiden"] = 64

    copy_record(REFERENCE / "stage_a_tiny.safetensors", tmp_path / "stage_a_misnamed.safetensors", misname)
    (tmp_path / "stage_a_cut.safetensors").write_bytes((REFERENCE / "stage_a_tiny.safetensors").read_bytes()[:100])
    status, lines = verify(capsys, tmp_path)
    assert status == 1 and lines[1].endswith("ok")
    assert all("ERROR" in line for line in lines[2:5]) and "3 did not" in lines[-1]
    assert "c_hiden" in lines[3]


def test_strict_counts_what_is_not_implemented(tmp_path, capsys):
    copy_record(REFERENCE / "controlnet_canny.safetensors", tmp_path / "controlnet_canny.safetensors")
    assert verify(capsys, tmp_path)[0] == 0
    status, lines = verify(capsys, tmp_path, "--strict")
    assert status == 1 and "not yet" in lines[1]


def test_full_size_can_be_left_out(tmp_path, capsys):
    copy_record(REFERENCE / "full_c1.safetensors", tmp_path / "full_c1.safetensors")
    copy_record(REFERENCE / "previewer.safetensors", tmp_path / "previewer.safetensors")
    status, lines = verify(capsys, tmp_path, "--no_full_size")
    assert status == 0 and lines[-1] == "1 of 1 rows passed"


@pytest.mark.parametrize("exists", [True, False])
def test_empty_and_missing_folders(tmp_path, capsys, exists):
    folder = tmp_path if exists else tmp_path / "absent"
    assert verify_parity.main([str(folder)]) == 2 and str(folder) in capsys.readouterr().err


def test_only_full_size_and_none_wanted(tmp_path, capsys):
    copy_record(REFERENCE / "full_c1.safetensors", tmp_path / "full_c1.safetensors")
    assert verify_parity.main([str(tmp_path), "--no_full_size"]) == 2
