"""Part `clip`: do the release's two CLIP towers find a prompt's picture among all of them, and the other way round?"""

import numpy as np
import paddle
from PIL import Image

from ldm.clip.pair import best_matches
from ldm.data.transforms import clip_array
from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.measures import wilson
from ldm.demo.evaluation.tables import interval, markdown_table, percent
from ldm.weights.blame import check_finite


def measure(bench: Bench) -> dict:
    """Accuracies, or why there are none."""
    frozen = bench.cascade.prior.frozen
    if not same_clip(frozen):
        widths = frozen.text.projection_dim, frozen.image.projection_dim
        return {
            "skipped": f"The text tower embeds into {widths[0]} numbers and the image tower into {widths[1]}: they are "
            "of two CLIP models, and their embeddings cannot be compared."
        }
    parts = list(bench.batches("CLIP"))
    return retrieve(
        text_embeds(frozen, bench.captions, parts), picture_embeds(frozen, bench.true_pictures, parts), bench.captions
    )


def same_clip(frozen) -> bool:
    """Whether the release's two towers embed into one space, as far as its size tells."""
    return frozen.text.projection_dim == frozen.image.projection_dim


def text_embeds(frozen, captions, parts) -> np.ndarray:
    """Unit vectors (N, d) of captions, encoded in slices."""
    return _units([frozen.text.encode(captions[part])[1] for part in parts], frozen, "text")


def picture_embeds(frozen, pictures, parts) -> np.ndarray:
    """Unit vectors (N, d) of pictures, uint8 (H, W, 3) each, encoded in slices."""

    def embeds(images):
        pixels = [clip_array(Image.fromarray(image), frozen.image.image_size) for image in images]
        return frozen.image(paddle.to_tensor(np.stack(pixels)))

    return _units([embeds(pictures[part]) for part in parts], frozen, "image")


def _units(batches, frozen, kind: str) -> np.ndarray:
    """FloatingPointError where an embedding is not finite: nothing is nearest to NaN, and chance would be reported."""
    for batch in batches:
        check_finite(batch, f"CLIP's {kind} tower: an embedding", lambda: frozen.blame(kind))
    rows = np.concatenate([batch.astype("float32").numpy()[:, 0] for batch in batches])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def retrieve(texts: np.ndarray, images: np.ndarray, captions: list) -> dict:
    """Top-1 accuracy both ways by cosine similarity. texts, images: (N, d), row i of both belongs to captions[i].

    A picture whose caption is the same text is a hit too: nothing could tell the two apart.
    """
    words = np.array(captions)
    same = words[:, None] == words[None, :]
    total = len(captions)
    ways = {}
    for name, best in zip(("text to image", "image to text"), best_matches(texts, images)):
        right = int(same[np.arange(total), best].sum())
        ways[name] = {
            "right": right,
            "total": total,
            "share": right / total,
            "interval": list(wilson(right, total)),
            "chance": float(same.mean()),  # 1 / N where all captions differ
        }
    return {"ways": ways}


def table(result: dict) -> str:
    if "skipped" in result:
        return f"Skipped. {result['skipped']}"
    rows = [
        (
            name,
            f"{way['right']}/{way['total']}",
            percent(way["share"]),
            interval(way["interval"]),
            f"{way['chance']:.2%}",
        )
        for name, way in result["ways"].items()
    ]
    return markdown_table(("top 1", "right", "share", "95 % interval", "chance"), rows)
