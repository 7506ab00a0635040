"""Training on cached features: which features belong to a dataset, found and checked, and the dataset of them."""

import sys
from functools import partial

import numpy as np
import paddle

from ldm.common.hashing import files_of, sha256_of
from ldm.data.dataset import ImageTextDataset, SampleSet
from ldm.data.feature_cache import FeatureCache, Source
from ldm.data.image_hashes import FILE, KeptHashes, hash_images
from ldm.data.sources.source import listed
from ldm.features import PriorFeatures
from ldm.frozen import Frozen, open_release

FORMAT = 1  # raise it when features would come out differently for the same recipe
DTYPES = ("float32", "float16")  # what is exact, what is half the size
PRIOR = PriorFeatures()


def check_cache_dtype(dtype: str, flag: str):
    """ValueError for a dtype that features are not stored in."""
    if dtype not in DTYPES:
        raise ValueError(f"{flag} must be {' or '.join(DTYPES)}, got {dtype!r}.")


def check_cacheable(dataset: ImageTextDataset):
    """ValueError where an image would look different at every visit: a cache holds one view of it."""
    changing = {
        "--flip": dataset.flip,
        "--crop random": dataset.crop == "random",
        "--random_bucket above 0": dataset.buckets is not None and dataset.buckets.random_share > 0,
    }
    if any(changing.values()):
        flags = " and ".join(flag for flag, used in changing.items() if used)
        raise ValueError(
            f"{flags}: a feature cache holds one fixed view of every image. Leave --flip and --crop random out and give "
            "--random_bucket 0, or train without --feature_cache."
        )


def features_recipe(
    frozen: Frozen, resolution: int, max_length=None, crop: str = "centre", buckets=None, features=PRIOR
) -> dict:
    """Everything the features depend on besides image and caption; the encoders by the hash of their files.

    features: PriorFeatures or DecoderFeatures. buckets: an AspectBuckets, or None. Without them and with the centre crop
    the recipe is that of earlier caches.
    """
    files = {path.name: path for path in map(frozen.release.file, features.networks)}
    for name, folder in frozen.folders.items():
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} does not exist: download {name}/ of the release, or correct config.py.")
        files |= {f"{name}/{path.name}": path for path in files_of(folder)}
    return {
        "format": FORMAT,
        "resolution": resolution,
        "crop": crop,
        "tokens": "all" if max_length is None else max_length,
        "encoders": {name: sha256_of(path) for name, path in files.items()},
        **({"buckets": [f"{width}x{height}" for width, height in buckets.shapes]} if buckets else {}),
        **features.recipe,
    }


def recipe_of_dataset(frozen: Frozen, dataset: ImageTextDataset, max_length=None, features=PRIOR) -> dict:
    """The recipe of a dataset's views; ValueError unless it has one fixed view of every image."""
    check_cacheable(dataset)
    return features_recipe(frozen, dataset.resolution, max_length, dataset.crop, dataset.buckets, features)


def find_sources(
    dataset: ImageTextDataset, cache: FeatureCache, description: str, trust_mtime: bool = False, keep: bool = False
) -> list[Source]:
    """The cache's key of every item, by the content of its image and caption.

    trust_mtime: files that have not changed since scripts/cache_features.py hashed them are not read. keep: keep the
    hashes for that. What either costs for 100,000 images: benchmarks/README.md, "Hashing a dataset".
    """
    path = cache.root / FILE
    kept = KeptHashes(path if trust_mtime else None)
    sources, keys, hashed = hash_images(dataset.source, kept, description)
    if trust_mtime and hashed:
        print(
            f"--trust_mtime: {hashed} of {len(sources)} images are not as scripts/cache_features.py saw them: hashed."
        )
    if keep and hashed:
        try:
            kept.keep(path, keys, [source.image for source in sources])
        except OSError as error:
            print(f"Hashes are not kept, --trust_mtime will not help ({error}).", file=sys.stderr)
    return sources


class CachedFeatures(SampleSet):
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

    def empty(self) -> dict:
        """{name: tensor} of the empty caption."""
        return {name: paddle.to_tensor(values) for name, values in self.cache.shared().items()}

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
    path, frozen: Frozen, images: ImageTextDataset, max_length, features=PRIOR, trust_mtime: bool = False
) -> CachedFeatures:
    """The features of `images` in the cache at `path`; ValueError if any is missing, damaged or was made otherwise."""
    recipe = recipe_of_dataset(frozen, images, max_length, features)
    caches = [FeatureCache(path, {**recipe, "dtype": dtype}, features.names) for dtype in DTYPES]
    return CachedFeatures(next((cache for cache in caches if len(cache)), caches[0]), images, trust_mtime)


def stack(items: list) -> dict:
    """Items -> the arrays of a batch."""
    return {name: np.stack([item[name] for item in items]) for name in items[0]}


def parts_from_cache(stage: type, features, model_args, images, max_length, trust_mtime: bool) -> dict:
    """What a Task of a ModelC or ModelB (`stage`) has otherwise where `images` are read as features from --feature_cache."""
    frozen, _ = open_release(model_args.weights_path, "float32")
    dataset = open_cached(model_args.feature_cache, frozen, images, max_length, features, trust_mtime)
    encode = partial(features.from_cache, dataset.empty())
    model = stage(None, model_args.model_version, "float32", model_args.unet_path, frozen)
    return {"model": model, "dataset": dataset, "collate": stack, "encode": encode, "cached": True}
