"""What the frozen encoders say about a captioned image, computed once instead of in every step.

Which encoders run, and how, a stage says: `PRIOR` here for Stage C, `DecoderFeatures` (ldm/decoder_features.py) for Stage B.
"""

import sys
from typing import ClassVar

import numpy as np
import paddle
from tqdm.auto import tqdm

from ldm.common.hashing import files_of, sha256_of
from ldm.conditions import encode_images
from ldm.data.dataset import ImageTextDataset, View
from ldm.data.feature_cache import FeatureCache, Source
from ldm.data.image_hashes import FILE, KeptHashes, hash_images
from ldm.data.sources.source import listed
from ldm.frozen import Frozen

FORMAT = 1  # raise it when features would come out differently for the same recipe
ROWS = 512  # per file
BATCH = 16  # images encoded at once
MADE_BY = {  # feature -> the network that makes it
    **{"latents": "effnet", "decoder_latents": "stage_a"},
    **{"text_embeds": "text", "pooled": "text", "image_embeds": "image"},
}
DTYPES = ("float32", "float16")  # what is exact, what is half the size


class PriorFeatures:
    """What Stage C is trained on. `networks`: of the release, whose files the features depend on, besides the CLIP towers;
    `recipe`: what else they depend on; `names`: of a row's arrays."""

    networks = ("effnet",)
    names = ("latents", "text_embeds", "pooled", "image_embeds")
    recipe: ClassVar[dict] = {}

    def prepare(self, frozen: Frozen, dataset: ImageTextDataset):
        """Have the dataset's items hold what `encode` needs."""
        dataset.clip_size = frozen.image.image_size

    def encode(self, frozen: Frozen, items: list, max_length=None) -> dict:
        """Items of a dataset -> {name: (N, ...)} float32."""
        return encode_items(frozen, items, max_length)


PRIOR = PriorFeatures()


def check_cache_dtype(dtype: str, flag: str):
    """ValueError for a dtype that features are not stored in."""
    if dtype not in DTYPES:
        raise ValueError(f"{flag} must be {' or '.join(DTYPES)}, got {dtype!r}.")


def check_cacheable(dataset: ImageTextDataset):
    """ValueError where an image would look different in every epoch: a cache holds one view of it."""
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
    frozen: Frozen, resolution: int, max_length=None, crop: str = "centre", buckets=None, stage=PRIOR
) -> dict:
    """Everything the features depend on besides image and caption; the encoders by the hash of their files.

    buckets: an AspectBuckets, or None. Without them and with the centre crop the recipe is that of earlier caches.
    """
    files = {path.name: path for path in map(frozen.release.file, stage.networks)}
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
        **stage.recipe,
    }


def recipe_of_dataset(frozen: Frozen, dataset: ImageTextDataset, max_length=None, stage=PRIOR) -> dict:
    """The recipe of a dataset's views; ValueError unless it has one fixed view of every image."""
    check_cacheable(dataset)
    return features_recipe(frozen, dataset.resolution, max_length, dataset.crop, dataset.buckets, stage)


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


@paddle.no_grad()
def encode_items(frozen: Frozen, items: list, max_length=None) -> dict:
    """Items of an ImageTextDataset with clip_pixels -> {name: (N, ...)}, as `ModelC.forward` would compute them."""
    ids, mask = frozen.text.tokenize([item["caption"] for item in items], max_length)
    text, pooled = frozen.text(ids, mask)
    images, pixels = (paddle.to_tensor(np.stack([item[name] for item in items])) for name in ("image", "clip_pixels"))
    latents, embeds = encode_images(frozen, images), frozen.image(pixels)
    named = {"latents": latents, "text_embeds": text, "pooled": pooled, "image_embeds": embeds}
    return {name: values.astype("float32").numpy() for name, values in named.items()}


def empty_caption(frozen: Frozen, max_length=None) -> dict:
    """Text features (L, c) and (1, c') of the empty caption."""
    text, pooled = frozen.text(*frozen.text.tokenize([""], max_length))
    return {"text_embeds": text[0].astype("float32").numpy(), "pooled": pooled[0].astype("float32").numpy()}


def check_made(frozen: Frozen, features: dict, of: str):
    """FloatingPointError, which names the file to blame, for {name: array} that are not all finite."""
    for name, values in features.items():
        if not np.isfinite(values).all():
            raise FloatingPointError(
                f"The {name} of {of} are not finite (NaN or infinity). {frozen.blame(MADE_BY[name])}"
            )


def rows_of_files(missing: list, buckets) -> list[list]:
    """Items by file: at most ROWS, all of one shape. With buckets they are Views that say which."""
    if buckets is None:
        groups = [missing]
    else:
        views = [View(index, 0, 0, buckets.own[index]) for index in missing]
        groups = [[view for view in views if view.bucket == bucket] for bucket in range(len(buckets.shapes))]
    return [group[start : start + ROWS] for group in groups for start in range(0, len(group), ROWS)]


def falls_to(rank: int, ranks: int, key: str) -> bool:
    """Whether a row is this process's to make. By the key alone: nobody has to know what the others have made so far."""
    return int(key[:8], 16) % ranks == rank


def fill_cache(
    frozen: Frozen,
    dataset: ImageTextDataset,
    cache: FeatureCache,
    max_length=None,
    stage=PRIOR,
    rank=0,
    ranks=1,
    trust_mtime: bool = False,
) -> int:
    """Encode what the cache lacks; how many items that was. Stopped, it goes on with the first missing file.

    rank, ranks: this process and how many fill the same cache at the same time, each its own rows. trust_mtime: as
    `find_sources`.
    """
    check_cacheable(dataset)
    stage.prepare(frozen, dataset)
    sources = find_sources(dataset, cache, "Hashing", trust_mtime, keep=rank == 0)
    wanted = {source.key: index for index, source in enumerate(sources) if falls_to(rank, ranks, source.key)}
    missing = [index for key, index in wanted.items() if key not in cache]
    empty = empty_caption(frozen, max_length)
    check_made(frozen, empty, "the empty caption")
    cache.begin(empty)
    with tqdm(total=len(missing), desc="Encoding", unit="image") as bar:
        for rows in rows_of_files(missing, dataset.buckets):
            parts = []
            for first in range(0, len(rows), BATCH):
                indices = rows[first : first + BATCH]
                parts.append(stage.encode(frozen, [dataset[index] for index in indices], max_length))
                names = [sources[index].name for index in indices]
                check_made(frozen, parts[-1], listed(names, len(names)))
                bar.update(len(indices))
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            cache.add([sources[index] for index in rows], arrays)
    return len(missing)
