"""Filling and reading the feature cache of a small release. No test itself."""

from ldm.data.dataset import ImageTextFolder
from ldm.data.feature_cache import FeatureCache
from ldm.frozen import open_release
from ldm.training.batches.cached import features_recipe, open_cached
from ldm.training.batches.fill_cache import fill_cache
from ldm.training.flags.arguments import parse_into
from ldm.training.tasks import prior

SIZE = 64


def fill(place, dtype="float32", size=SIZE) -> tuple[int, FeatureCache]:
    frozen, _ = open_release(place / "release", "float32")
    cache = FeatureCache(place / "cache", {**features_recipe(frozen, size), "dtype": dtype})
    return fill_cache(frozen, ImageTextFolder(place / "scenes", size), cache), cache


def reopen(place, size=SIZE):
    frozen, _ = open_release(place / "release", "float32")
    return open_cached(place / "cache", frozen, ImageTextFolder(place / "scenes", size), None)


def groups(place, output, flags=""):
    common = (
        f"--do_train --weights_path {place / 'release'} --dataset_path {place / 'scenes'} --output_dir {place / output}"
    )
    common = f"{common} --resolution {SIZE} --per_device_train_batch_size 5"  # `flags` come last and win
    return parse_into(prior.GROUPS, f"{common} {flags}".split())


def flags_of(place, dataset="scenes") -> list:
    """What `run_script` is always given."""
    return ["--dataset_path", place / dataset, "--weights_path", place / "release", "--feature_cache", place / "cache"]


def run_script(*flags) -> int:
    import cache_features

    return cache_features.main([str(flag) for flag in flags])
