"""Every trainer of the project on a small release: it runs, the fixed loss falls, what it exports is what it trained."""

import json

import numpy as np
import paddle
import pytest
from small_release import ARCHITECTURE, images, write_scenes_and_release

from ldm.demo.untrained import read_architecture, write_untrained_release
from ldm.frozen import Frozen
from ldm.training.checkpoints.export import export_networks
from ldm.training.flags.arguments import parse_into
from ldm.training.run import train
from ldm.training.tasks import clip, decoder, previewer, prior, stage_a
from ldm.weights.files import TensorFile
from ldm.weights.release import Release, network_config, output_size

TRAINERS = {
    "stage_a": (stage_a, "--resolution 64 --learning_rate 3e-3 --freeze_batch_norm True"),
    "stage_b": (
        decoder,
        "--resolution 256 --random_crop 128 --encoder_scale_min 0.75 --encoder_scale_max 0.75 --train_encoder True "
        "--freeze_batch_norm True --learning_rate 2e-3",
    ),
    "previewer": (
        previewer,
        "--resolution 64 --latent_noise 0.1 --learning_rate 3e-3 --max_steps 60 --image_logging_steps 60",
    ),
    "encoder": (previewer, "--train_encoder True --resolution 64 --freeze_batch_norm True --learning_rate 2e-3"),
    "clip": (clip, "--learning_rate 2e-3"),
    "stage_c": (
        prior,
        "--resolution 64 --learning_rate 2e-3",
    ),
}
EXPORTED = {
    "stage_a": ["stage_a.safetensors"],
    "stage_b": ["stage_b_lite.safetensors", "effnet_encoder.safetensors"],
    "previewer": ["previewer.safetensors"],
    "encoder": ["previewer.safetensors", "effnet_encoder.safetensors"],
    "clip": ["text_encoder", "image_encoder"],
    "stage_c": ["stage_c_lite.safetensors"],
}
VERSIONS = {"stage_b": "700M", "stage_c": "1B"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Twelve scenes and an untrained release for them."""
    return write_scenes_and_release(tmp_path_factory.mktemp("trainers"))


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_learns_and_exports_what_it_learned(folders, name, tmp_path):
    trainer, flags = TRAINERS[name]
    common = (
        f"--do_train --weights_path {folders / 'release'} --dataset_path {folders / 'scenes'} --output_dir {tmp_path / 'out'} "
        "--max_steps 12 --per_device_train_batch_size 6 --image_logging_steps 12 --logging_steps 4 --ema_decay 0.9 "
    )
    groups = parse_into(trainer.GROUPS, (common + flags).split())
    train(trainer.build_task, *groups)

    # It learned
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    first, last = (entry["fixed_loss"] for entry in history if "fixed_loss" in entry)
    assert np.isfinite(last) and last < first

    # Pictures where there is something to see
    pictures = list((tmp_path / "out" / "pictures").glob("*.png")) if name != "clip" else []
    assert len(pictures) == (0 if name == "clip" else 2)

    # The export is complete, official in name and layout, and loads
    written = export_networks(tmp_path / "out", tmp_path / "new", VERSIONS.get(name), "float32")
    assert [path.name for path in written] == EXPORTED[name]
    state = paddle.load(str(tmp_path / "out" / "model_state.pdparams"))
    for path in written:
        if path.suffix:
            with TensorFile(path) as file:
                assert "layout" not in file.metadata
            kind = file.metadata["network"]
            assert network_config(path, kind) == network_config(folders / "release" / path.name, kind)
            network = Release(tmp_path / "new").load(kind, VERSIONS.get(name))
            prefix = {"stage_b": "unet.", "stage_c": "unet."}.get(kind, f"{kind}.")
            for key, value in network.state_dict().items():
                assert np.array_equal(value.numpy(), np.asarray(state[prefix + key])), key


def test_exported_towers_are_those_that_were_trained(folders, tmp_path):
    trainer, flags = TRAINERS["clip"]
    common = f"--do_train --weights_path {folders / 'release'} --dataset_path {folders / 'scenes'} --output_dir {tmp_path / 'out'}"
    groups = parse_into(trainer.GROUPS, f"{common} --max_steps 3 --per_device_train_batch_size 4 {flags}".split())
    train(trainer.build_task, *groups)
    export_networks(tmp_path / "out", tmp_path / "new", dtype="float32")
    frozen = Frozen(Release(folders / "release"))
    old = frozen.text.encode(["a red star"])[1]
    frozen._text = tmp_path / "new" / "text_encoder"
    del frozen.text
    assert float((frozen.text.encode(["a red star"])[1] - old).abs().max()) > 1e-3


def test_a_trained_prior_says_what_size_it_generates(folders, tmp_path):
    trainer, flags = TRAINERS["stage_c"]
    common = f"--do_train --weights_path {folders / 'release'} --dataset_path {folders / 'scenes'} --output_dir {tmp_path / 'out'}"
    groups = parse_into(trainer.GROUPS, f"{common} --max_steps 1 --resolution 192 --preflight False".split())
    train(trainer.build_task, *groups)
    [path] = export_networks(tmp_path / "out", tmp_path / "new", "1B")
    assert output_size(path) == 256
    assert output_size(folders / "release" / "stage_c_lite.safetensors") == 1024


def test_a_version_is_needed_for_networks_of_several_sizes(folders, tmp_path):
    trainer, flags = TRAINERS["stage_c"]
    common = f"--do_train --weights_path {folders / 'release'} --dataset_path {folders / 'scenes'} --output_dir {tmp_path / 'out'}"
    train(trainer.build_task, *parse_into(trainer.GROUPS, f"{common} --max_steps 1 --resolution 64".split()))
    with pytest.raises(ValueError, match="choose one of"):
        export_networks(tmp_path / "out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_untrained_releases_are_the_same_for_the_same_seed(folders, tmp_path):
    captions = [path.read_text() for path in sorted((folders / "scenes").rglob("*.txt"))]
    write_untrained_release(tmp_path, ARCHITECTURE, captions, images())
    for path in sorted(folders.glob("release/**/*")):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(folders / "release")).read_bytes(), path


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda parts: parts.pop("effnet"), r"missing parts \['effnet'\]"),
        (lambda parts: parts.update(stage_d={}), r"unknown parts \['stage_d'\]"),
    ],
)
def test_incomplete_architectures_are_refused(tmp_path, change, message):
    parts = dict(ARCHITECTURE)
    change(parts)
    (tmp_path / "architecture.json").write_text(json.dumps(parts))
    with pytest.raises(ValueError, match=message):
        read_architecture(tmp_path / "architecture.json")


def test_frozen_batch_norms_keep_their_statistics_and_the_rest_learns(folders, tmp_path):
    trainer, flags = TRAINERS["stage_a"]
    common = f"--do_train --weights_path {folders / 'release'} --dataset_path {folders / 'scenes'} --output_dir {tmp_path / 'out'}"
    groups = parse_into(trainer.GROUPS, f"{common} --max_steps 3 {flags}".split())
    before = Release(folders / "release").load("stage_a").state_dict()
    train(trainer.build_task, *groups)
    after = paddle.load(str(tmp_path / "out" / "model_state.pdparams"))
    for key, value in before.items():
        same = np.array_equal(value.numpy(), np.asarray(after[f"stage_a.{key}"]))
        assert same == key.endswith(("._mean", "._variance")) or "vquantizer" in key, key


def test_freezing_norms_that_do_not_exist_is_refused(folders, tmp_path):
    trainer, flags = TRAINERS["stage_c"]
    common = f"--do_train --weights_path {folders / 'release'} --dataset_path {folders / 'scenes'} --output_dir {tmp_path / 'out'}"
    groups = parse_into(trainer.GROUPS, f"{common} --max_steps 1 {flags} --freeze_batch_norm True".split())
    with pytest.raises(ValueError, match="--freeze_batch_norm"):
        train(trainer.build_task, *groups)
