"""Extracting the prior from a Trainer's checkpoint: what it accepts, and that a malicious pickle is never run."""

import json
import pickle
import shutil

import extract_unet_weights
import numpy as np
import paddle
import pytest

from ldm.common.hashing import sha256_of
from ldm.training.checkpoints.export import extract_unet
from ldm.training.checkpoints.files import check_networks, find_state_file, save_networks
from ldm.training.checkpoints.staging import MANIFEST
from ldm.training.task import NetworkEntry
from ldm.weights.files import TensorFile
from ldm.weights.pickles import read_pdparams
from ldm.weights.plan import WeightsMismatch
from ldm.weights.release import load_network, network_config


@pytest.fixture
def checkpoint(rule_release, tmp_path):
    """A checkpoint folder as the Trainer writes it, and the UNet in it."""
    source = rule_release / "stage_c_lite.safetensors"
    network = load_network(source, "stage_c")
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    paddle.save(
        {f"unet.{key}": value for key, value in network.state_dict().items()}, str(folder / "model_state.pdparams")
    )
    save_networks(folder, {"unet": NetworkEntry("stage_c", network_config(source, "stage_c"))})
    return folder, network


def rewrite(folder, change):
    state = paddle.load(str(folder / "model_state.pdparams"))
    paddle.save(change(state), str(folder / "model_state.pdparams"))


@pytest.mark.parametrize("swapped", [False, True])
def test_the_extracted_file_loads_and_equals_the_checkpoint(checkpoint, tmp_path, swapped):
    folder, network = checkpoint
    target = str(tmp_path / "prior.safetensors")
    paths = [str(folder), target][:: -1 if swapped else 1]
    assert extract_unet_weights.main(["--checkpoint_path", paths[0], "--model_file", paths[1]]) == 0
    loaded = load_network(target, "stage_c")
    for key, value in network.state_dict().items():
        assert np.array_equal(value.numpy(), loaded.state_dict()[key].numpy()), key


def test_output_folder_means_its_last_complete_checkpoint(checkpoint, tmp_path):
    folder, _ = checkpoint
    (tmp_path / "checkpoint-9").mkdir()
    (tmp_path / "checkpoint-11").mkdir()  # interrupted before its weights were written
    assert find_state_file(tmp_path) == folder / "model_state.pdparams"


def test_a_checkpoint_that_lacks_files_of_its_list_is_not_taken(checkpoint, tmp_path):
    folder, _ = checkpoint
    damaged = tmp_path / "checkpoint-12"
    shutil.copytree(folder, damaged)
    (damaged / MANIFEST).write_text(json.dumps({"bytes": {"model_state.pdparams": 1}}))
    assert find_state_file(tmp_path) == folder / "model_state.pdparams"
    with pytest.raises(ValueError, match="checkpoint-12 is not complete: its model_state.pdparams has"):
        find_state_file(damaged)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match="complete checkpoint-N"):
        find_state_file(tmp_path)


@pytest.mark.parametrize("name", ["model_state.pdparams", "networks.json"])
def test_weights_that_are_not_what_was_written_are_not_extracted(checkpoint, tmp_path, name):
    """The sizes are right, the checksum is not."""
    folder, _ = checkpoint
    files = {path.name: path for path in folder.iterdir()}
    sums = {file: sha256_of(path) for file, path in files.items()}
    sizes = {file: path.stat().st_size for file, path in files.items()}
    (folder / MANIFEST).write_text(json.dumps({"bytes": sizes, "sha256": sums}))
    extract_unet(folder, tmp_path / "prior.safetensors")
    content = bytearray(files[name].read_bytes())
    content[len(content) // 2] ^= 1
    files[name].write_bytes(content)
    with pytest.raises(
        ValueError, match=f"checkpoint-10 is not complete: its {name} .* checksum differs. Take another"
    ):
        extract_unet(folder, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_missing_extra_and_misshapen_keys_are_all_named(checkpoint, tmp_path):
    folder, _ = checkpoint

    def damage(state):
        del state["unet.clf.1.bias"]
        state["unet.no_such_key"] = paddle.ones([1])
        state["unet.embedding.1.bias"] = paddle.ones([3])
        return state

    rewrite(folder, damage)
    with pytest.raises(WeightsMismatch) as error:
        extract_unet(folder, tmp_path / "prior.safetensors")
    assert all(name in str(error.value) for name in ("clf.1.bias", "no_such_key", "embedding.1.bias"))
    assert not (tmp_path / "prior.safetensors").exists()


@pytest.mark.parametrize(
    "paths, message",
    [
        (("nowhere", "out.safetensors"), "does not exist"),
        (("a.safetensors", "b.safetensors"), "must be the checkpoint"),
        (("a", "b"), "must be the checkpoint"),
    ],
)
def test_wrong_paths(capsys, paths, message):
    assert extract_unet_weights.main(["--checkpoint_path", paths[0], "--model_file", paths[1]]) == 2
    assert message in capsys.readouterr().err


def test_no_average_and_no_checkpoint(checkpoint, tmp_path):
    folder, _ = checkpoint
    with pytest.raises(FileNotFoundError, match="--ema_decay"):
        extract_unet(folder, tmp_path / "x.safetensors", ema=True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no checkpoint folder"):
        extract_unet(tmp_path / "empty", tmp_path / "x.safetensors")
    rewrite(folder, lambda state: {"other.weight": paddle.ones([1])})
    with pytest.raises(ValueError, match="no keys that begin with 'unet.'"):
        extract_unet(folder, tmp_path / "x.safetensors")


def test_config_is_needed_only_for_unreleased_sizes(checkpoint, tmp_path):
    folder, _ = checkpoint
    (folder / "networks.json").unlink()
    with pytest.raises(ValueError, match="networks.json is missing"):
        extract_unet(folder, tmp_path / "x.safetensors")


class Malicious:
    def __reduce__(self):
        return (exec, ("raise SystemExit('the pickle was run')",))


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "model_state.pdparams"
    path.write_bytes(pickle.dumps({"unet.clf.1.bias": Malicious()}))
    with pytest.raises(ValueError, match="exec"):
        read_pdparams(path)


@pytest.mark.parametrize("content", [b"", b"\x80\x04garbage", pickle.dumps([1, 2]), pickle.dumps({"a": 1})])
def test_other_content_is_refused(tmp_path, content):
    path = tmp_path / "model_state.pdparams"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="model_state.pdparams"):
        read_pdparams(path)


def test_half_precision_checkpoints_keep_their_values(checkpoint, tmp_path):
    folder, network = checkpoint
    for dtype, bound in (("float16", 1e-3), ("bfloat16", 1e-2)):
        rewrite(folder, lambda state, dtype=dtype: {key: value.astype(dtype) for key, value in state.items()})
        extract_unet(folder, tmp_path / "prior.safetensors")
        with TensorFile(tmp_path / "prior.safetensors") as file:
            assert json.loads(file.metadata["config"])["c_hidden"] == [64, 64]
            for key, value in network.state_dict().items():
                assert np.allclose(file.read_numpy(key), value.numpy(), rtol=bound, atol=bound), (dtype, key)


def test_final_weights_are_taken_unless_a_longer_run_has_got_further(checkpoint, tmp_path):
    folder, _ = checkpoint
    shutil.copy(folder / "model_state.pdparams", tmp_path)
    for path, step in ((tmp_path, 10), (folder, 10)):
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    assert find_state_file(tmp_path) == tmp_path / "model_state.pdparams"
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": 15}))
    assert find_state_file(tmp_path) == folder / "model_state.pdparams"


def test_a_run_goes_on_with_its_own_networks_only(tmp_path):
    prior, encoder = NetworkEntry("stage_c", {"c_hidden": (8, 8)}), NetworkEntry("effnet", {})
    save_networks(tmp_path, {"unet": prior, "effnet": encoder})
    check_networks(tmp_path, {"unet": prior, "effnet": encoder})
    with pytest.raises(ValueError, match="with training 'effnet'"):
        check_networks(tmp_path, {"unet": prior})
    with pytest.raises(ValueError, match="without training 'previewer'"):
        check_networks(tmp_path, {"unet": prior, "effnet": encoder, "previewer": encoder})
    with pytest.raises(ValueError, match="'unet' of another size"):
        check_networks(tmp_path, {"unet": NetworkEntry("stage_c", {"c_hidden": (8, 16)}), "effnet": encoder})
