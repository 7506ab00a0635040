"""A cache of features filled: the encoders run once over a dataset instead of in every step."""

import numpy as np
import paddle
from tqdm.auto import tqdm

from ldm.data.dataset import ImageTextDataset, View
from ldm.data.feature_cache import FeatureCache
from ldm.data.sources.source import listed
from ldm.frozen import Frozen
from ldm.training.batches.cached import PRIOR, check_cacheable, find_sources
from ldm.training.batches.loader import Collator

ROWS = 512  # per file
BATCH = 16  # images encoded at once
MADE_BY = {  # feature -> the network that makes it
    **{"latents": "effnet", "decoder_latents": "stage_a"},
    **{"text_embeds": "text", "pooled": "text", "image_embeds": "image"},
}


@paddle.no_grad()
def encode_items(frozen: Frozen, items: list, max_length=None, features=PRIOR) -> dict:
    """Items of a dataset -> {name: (N, ...)} float32, by `features.encode_batch`, as in training."""
    batch = Collator(lambda captions: frozen.text.tokenize(captions, max_length))(items)
    tensors = {name: paddle.to_tensor(values) for name, values in batch.items() if name != "index"}
    made = features.encode_batch(frozen, **tensors)
    return {name: made[name].astype("float32").numpy() for name in features.names}


def empty_caption(frozen: Frozen, max_length=None) -> dict:
    """Text features (L, c) and (1, c') of the empty caption."""
    text, pooled = frozen.text(*frozen.text.tokenize([""], max_length))
    return {"text_embeds": text[0].astype("float32").numpy(), "pooled": pooled[0].astype("float32").numpy()}


def check_made(frozen: Frozen, made: dict, of: str):
    """FloatingPointError, which names the file to blame, for {name: array} that are not all finite."""
    for name, values in made.items():
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
    features=PRIOR,
    rank=0,
    ranks=1,
    trust_mtime: bool = False,
) -> int:
    """Encode what the cache lacks; how many items that was. Stopped, it goes on with the first missing file.

    rank, ranks: this process and how many fill the same cache at the same time, each its own rows. trust_mtime: as
    `find_sources`.
    """
    check_cacheable(dataset)
    features.prepare(frozen, dataset)
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
                parts.append(encode_items(frozen, [dataset[index] for index in indices], max_length, features))
                names = [sources[index].name for index in indices]
                check_made(frozen, parts[-1], listed(names, len(names)))
                bar.update(len(indices))
            arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            cache.add([sources[index] for index in rows], arrays)
    return len(missing)
