"""Cases of wrong checkpoints, output folders and feature caches."""

import json
import shutil
from pathlib import Path

import numpy as np
from bad_inputs import case
from safetensors.numpy import save_file


@case("checkpoints", "--resume_from_checkpoint", "is not a folder", "Leave the flag out")
def no_checkpoint(inputs):
    """--resume_from_checkpoint does not exist"""
    return ["--resume_from_checkpoint", str(inputs.output / "checkpoint-9")]


@case("checkpoints", "writing was cut off", "Leave the flag out")
def checkpoint_cut_off(inputs):
    """The checkpoint's writing was cut off"""
    folder = inputs.checkpoint({"model_state.pdparams": "x"})
    (folder / "complete.json").unlink()
    return ["--resume_from_checkpoint", str(folder)]


@case("checkpoints", "model_state.pdparams", "instead of 8", "Leave the flag out")
def checkpoint_changed(inputs):
    """A file of the checkpoint has lost its end"""
    folder = inputs.checkpoint({"model_state.pdparams": "12345678"})
    (folder / "model_state.pdparams").write_text("1234")
    return ["--resume_from_checkpoint", str(folder)]


@case("checkpoints", "checkpoint-1", "LoRA")
def checkpoint_of_a_lora(inputs):
    """The output folder has the checkpoint of a LoRA, and the whole prior is trained"""
    texts = dict.fromkeys(("base", "base_fingerprint"), "x")
    config = {"filters": [".attn"], "tokens": [], "indices": [], "alpha": 1.0, "network": {}, **texts}
    entry = {"lora": {"kind": "lora", "config": config, "notes": {}}}
    inputs.checkpoint({"networks.json": json.dumps(entry), "model_state.pdparams": "x"})


@case("checkpoints", "--replay_bad_batch", "bad_batch.json does not exist", "bad_batches/")
def no_bad_batch(inputs):
    """--replay_bad_batch does not exist"""
    return ["--replay_bad_batch", str(inputs.folder / "bad_batch.json")]


@case("checkpoints", "bad.json is not JSON", "bad_batches/")
def bad_batch_that_is_none(inputs):
    """--replay_bad_batch is no JSON file"""
    (inputs.folder / "bad.json").write_text("no JSON")
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "bad.json has no dropout_seed", "bad_batches/")
def bad_batch_of_another_kind(inputs):
    """--replay_bad_batch is another JSON file"""
    (inputs.folder / "bad.json").write_text("{}")
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "bad.safetensors is damaged", "bad_batches/")
def bad_batch_cut_off(inputs):
    """The batch of --replay_bad_batch is cut off"""
    (inputs.folder / "bad.json").write_text('{"dropout_seed": 1}')
    (inputs.folder / "bad.safetensors").write_bytes(b"x" * 100)
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "has colour, what is trained here takes", "Use the trainer that saved it")
def bad_batch_of_another_trainer(inputs):
    """The batch of --replay_bad_batch is of another trainer"""
    (inputs.folder / "bad.json").write_text('{"dropout_seed": 1}')
    save_file({"colour": np.zeros(3, np.float32)}, inputs.folder / "bad.safetensors")
    return ["--replay_bad_batch", str(inputs.folder / "bad.json")]


@case("checkpoints", "output", "--output_dir")
def output_is_a_file(inputs):
    """--output_dir is a file"""
    inputs.output.write_text("")


@case("checkpoints", "--output_dir", "GiB free", "--save_total_limit 1")
def full_disk(inputs):
    """The disk has no room for the checkpoints"""
    return ["--save_steps", "1"], {"ldm.training.preflight.room.free_on_disk": lambda folder: 1 << 20}


@case("checkpoints", "GiB are free", "--recompute True")
def too_little_memory(inputs):
    """Memory does not suffice for a step"""
    return [], {"ldm.training.preflight.room.available": lambda: 1 << 20}


# Feature cache ------------------------------------------------------------------------------------------------------


@case("cache", "cache", "scripts/cache_features.py")
def no_cache(inputs):
    """The feature cache was never made"""
    return ["--feature_cache", str(inputs.folder / "cache")]


@case("cache", "--flip", "Leave --flip")
def cache_and_flip(inputs):
    """--flip, and the features are cached"""
    return ["--feature_cache", str(inputs.folder / "cache"), "--flip", "True"]


@case("cache", "lacks 1 of 4 samples", "scripts/cache_features.py")
def cache_of_fewer_images(inputs):
    """The feature cache lacks an image"""
    cache = make_cache(inputs)
    shutil.copyfile(inputs.data / "1.txt", inputs.data / "3.txt")
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(inputs.data / "3.png")
    return ["--feature_cache", str(cache)]


@case("cache", "resolution 64 instead of 96", "scripts/cache_features.py")
def cache_of_another_resolution(inputs):
    """The feature cache was made at another resolution"""
    return ["--feature_cache", str(make_cache(inputs)), "--resolution", "96"]


@case("cache", "is damaged", "delete it")
def damaged_cache(inputs):
    """A file of the feature cache is cut off"""
    cache = make_cache(inputs)
    path = next(cache.rglob("rows_*.safetensors"))
    path.write_bytes(path.read_bytes()[:100])
    return ["--feature_cache", str(cache)]


def make_cache(inputs) -> Path:
    from ldm.data.dataset import ImageTextFolder
    from ldm.data.feature_cache import FeatureCache
    from ldm.frozen import open_release
    from ldm.training.batches.cached import features_recipe
    from ldm.training.batches.fill_cache import fill_cache

    frozen, _ = open_release(inputs.weights, "float32")
    recipe = {**features_recipe(frozen, 64), "dtype": "float32"}
    cache = FeatureCache(inputs.folder / "cache", recipe)
    fill_cache(frozen, ImageTextFolder(inputs.data, 64), cache)
    return inputs.folder / "cache"
