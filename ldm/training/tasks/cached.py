"""Training on cached features: their dataset, checked against the images and captions it stands for, and the model."""

import numpy as np
from paddle.io import Dataset

from ldm.data.dataset import ImageTextDataset
from ldm.data.feature_cache import FeatureCache
from ldm.data.sources.source import listed
from ldm.features import DTYPES, PRIOR, find_sources, recipe_of_dataset
from ldm.frozen import Frozen, open_release
from ldm.training.batches.data import open_dataset
from ldm.training.flags.data import DataArguments


class CachedFeatures(Dataset):
    """Items: the cached arrays of every image of `images`, and its index. Captions and buckets are those of `images`.

    trust_mtime: whether files that have not changed are taken for the same without hashing them.
    """

    def __init__(self, cache: FeatureCache, images: ImageTextDataset, trust_mtime: bool = False):
        super().__init__()
        sources = find_sources(images, cache, "Checking the feature cache", trust_mtime)
        missing = [source.name for source in sources if source.key not in cache]
        if missing:
            raise ValueError(_missing(cache, missing, len(sources)))
        self.cache, self.keys = cache, [source.key for source in sources]
        self.source, self.captions, self.mix = images.source, images.captions, images.mix
        self.buckets = self.fixed_buckets = images.buckets  # rows have no other shape than that of their bucket

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, index: int) -> dict:
        return {**self.cache.read(self.keys[index]), "index": int(index)}


def _missing(cache: FeatureCache, missing: list, total: int) -> str:
    """Why the cache cannot be used, and what to do."""
    remedy = "run scripts/cache_features.py with the same --weights_path and the same flags of the data"
    if len(cache):
        return (
            f"{cache.root} lacks {len(missing)} of {total} samples as they are now ({listed(missing, len(missing), 3)}, ...): "
            f"{remedy}; it encodes only what is missing."
        )
    others = [
        ", ".join(f"{name} {other.get(name)!r} instead of {cache.recipe.get(name)!r}" for name in {**cache.recipe, **other}
                  if name not in ("encoders", "dtype") and other.get(name) != cache.recipe.get(name)) or "other encoders"
        for other in cache.other_recipes()
    ]  # fmt: skip
    found = f" (it has features made with {'; '.join(others)})" if others else ""
    return f"{cache.root} has no features of these encoders for these images{found}: {remedy}."


def open_cached(
    path, frozen: Frozen, images: ImageTextDataset, max_length, stage=PRIOR, trust_mtime: bool = False
) -> CachedFeatures:
    """The features of `images` in the cache at `path`; ValueError if any is missing, damaged or was made otherwise."""
    recipe = recipe_of_dataset(frozen, images, max_length, stage)
    caches = [FeatureCache(path, {**recipe, "dtype": dtype}, stage.names) for dtype in DTYPES]
    return CachedFeatures(next((cache for cache in caches if len(cache)), caches[0]), images, trust_mtime)


def training_from_cache(model_class, model_args, data_args: DataArguments, max_length=None, stage=PRIOR):
    """Images, dataset, model and collation of a training on the features in `model_args.feature_cache`.

    model_class: CachedModelC or CachedModelB. The images are hashed, and decoded only by who asks for one.
    """
    frozen, _ = open_release(model_args.weights_path, "float32")
    images = open_dataset(data_args, decode=False)
    dataset = open_cached(model_args.feature_cache, frozen, images, max_length, stage, data_args.trust_mtime)
    options = {"version": model_args.model_version, "dtype": "float32", "unet_path": model_args.unet_path}
    return images, dataset, model_class(dataset.cache.shared(), frozen=frozen, **options), stack


def stack(items: list) -> dict:
    """Items -> the arrays of a batch."""
    return {name: np.stack([item[name] for item in items]) for name in items[0]}
