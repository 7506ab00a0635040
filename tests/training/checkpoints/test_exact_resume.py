"""A run continued from its first checkpoint ends with the bits of the uninterrupted one, whatever else is switched on."""

import shutil

import numpy as np
import paddle
import pytest
from small_release import write_scenes_and_release

from ldm.data.dataset import ImageTextFolder
from ldm.data.feature_cache import FeatureCache
from ldm.demo.scenes.dataset import SceneSettings, write_scenes
from ldm.frozen import open_release
from ldm.training.batches.cached import features_recipe
from ldm.training.batches.fill_cache import fill_cache
from ldm.training.flags.arguments import parse_into
from ldm.training.run import train
from ldm.training.tasks import prior
from ldm.weights.files import TensorFile

SIZE = 96
WAYS = {
    "buckets": "--aspect_buckets True --random_bucket 0.5 --flip True --loss_weight adaptive",
    "cache": "--feature_cache {cache} --loss_weight adaptive",
    "recompute_and_small_optimiser": "--recompute True --optim adamw_mini --loss_weight min_snr",
    "sampling_in_between": (
        "--image_logging_steps 2 --full_image_logging_steps 5 --image_logging_size 256 --num_inference_steps 1 "
        "--loss_weight none"
    ),
    "preserving": "--preservation_path {kept} --preservation_share 0.4 --aspect_buckets True",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scenes, others to preserve, a release whose prior has dropout, and a feature cache of the scenes."""
    folder = write_scenes_and_release(tmp_path_factory.mktemp("resume"), dropout=0.1)
    write_scenes(folder / "kept", SceneSettings(5, 96, seed=9), 1, iter)
    frozen, _ = open_release(folder / "release", "float32")
    cache = FeatureCache(folder / "cache", {**features_recipe(frozen, SIZE, None), "dtype": "float32"})
    fill_cache(frozen, ImageTextFolder(folder / "scenes", SIZE), cache)
    return folder


def run(folder, output, flags):
    command = (
        f"--do_train --weights_path {folder / 'release'} --dataset_path {folder / 'scenes'} --output_dir {output} "
        f"--resolution {SIZE} --max_steps 6 --save_steps 3 --per_device_train_batch_size 2 --ema_decay 0.9 --seed 3 "
        f"--gradient_accumulation_steps 2 --learning_rate 1e-3 --lr_scheduler_type linear --dataloader_num_workers 1 --preflight False {flags}"
    )
    with (
        paddle.utils.unique_name.guard()
    ):  # names of parameters as in a process of their own: the optimiser's state uses them
        train(prior.build_task, *parse_into(prior.GROUPS, command.split()))


def assert_same_arrays(path, expected_path):
    """Two files of Paddle's have the same entries, and arrays to the bit."""
    ours, expected = (paddle.load(str(file), return_numpy=True) for file in (path, expected_path))
    assert ours.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, np.ndarray):
            assert np.array_equal(ours[key], value), key


@pytest.mark.parametrize("way", WAYS)
def test_a_continued_run_ends_the_same(folder, tmp_path, way):
    flags = WAYS[way].format(cache=folder / "cache", kept=folder / "kept")
    run(folder, tmp_path / "whole", flags)
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "continued" / "checkpoint-3")
    run(folder, tmp_path / "continued", flags)
    whole, continued = (tmp_path / name / "checkpoint-6" for name in ("whole", "continued"))
    for file in ("model_state.pdparams", "optimizer.pdopt"):
        assert_same_arrays(continued / file, whole / file)
    with TensorFile(whole / "ema.safetensors") as expected, TensorFile(continued / "ema.safetensors") as ours:
        for key in expected.keys():
            assert np.array_equal(ours.read_numpy(key), expected.read_numpy(key)), key
    if "adaptive" in flags:
        states = [(path / "adaptive_weight.json").read_bytes() for path in (whole, continued)]
        assert states[0] == states[1]


def test_a_run_that_overwrites_another_is_resumed_as_itself(folder, tmp_path):
    """Killed after its first checkpoint, the new run must not be continued from a later one of the old run."""
    output = tmp_path / "out"
    run(folder, output, "")
    new = "--overwrite_output_dir True --max_steps 4 --learning_rate 1e-5"
    run(folder, output, new)
    assert sorted(path.name for path in output.glob("checkpoint-*")) == ["checkpoint-3"]
    run(folder, tmp_path / "alone", new)
    assert_same_arrays(
        output / "checkpoint-3" / "model_state.pdparams", tmp_path / "alone" / "checkpoint-3" / "model_state.pdparams"
    )
