"""Part `words`: which words of a caption do the CLIP pair and the prior take notice of?

For every pair of words, the captions in which swapping them makes a wrong one. The CLIP pair should find the right caption
nearer to the picture; the prior's estimate of the latent from strong noise should be worse with the wrong one. A word
that changes nothing has not been learned, long before images show it.
"""

import re

import numpy as np
import paddle

from ldm.demo.evaluation.bench import Bench, batch_slices
from ldm.demo.evaluation.latents import prior_latents
from ldm.demo.evaluation.retrieval import picture_embeds, same_clip, text_embeds
from ldm.demo.evaluation.tables import markdown_table, percent
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.prediction import prediction_of
from ldm.diffusion.schedule import CosineSchedule, diffuse, undiffuse
from ldm.weights.blame import check_finite

TIME = 0.95  # of the noise: composition is undecided, colours are guessed
SWAPS = (
    ("red", "green"),
    ("small", "large"),
    ("star", "circle"),
    ("heart", "square"),
    ("left", "right"),
    ("top", "bottom"),
    ("above", "below"),
)


def measure(bench: Bench) -> dict:
    """For each pair of words: captions, CLIP's share of right choices (None for unlike towers), the prior's errors."""
    prior = bench.cascade.prior
    parts = list(bench.batches("Latents"))
    latents = paddle.concat([prior_latents(bench.cascade, bench.true_pictures[part]) for part in parts])
    pictures = picture_embeds(prior.frozen, bench.true_pictures, parts) if same_clip(prior.frozen) else None
    return {"time": TIME, "swaps": [_swap(bench, pair, latents, pictures) for pair in SWAPS]}


def _swap(bench: Bench, pair: tuple, latents, pictures) -> dict:
    prior, size = bench.cascade.prior, bench.settings.batch_size
    indices, wrong = changed_captions(bench.captions, pair)
    result = {"words": "/".join(pair), "captions": len(indices), "clip": None, "prior": None}
    if not indices:
        return result
    right, parts = [bench.captions[index] for index in indices], batch_slices(len(indices), size)
    errors = [
        np.mean(np.concatenate([latent_errors(prior, latents, captions[part], indices[part]) for part in parts]))
        for captions in (right, wrong)
    ]
    result["prior"] = dict(zip(("right", "swapped"), map(float, errors)))
    if pictures is not None:
        near, far = (text_embeds(prior.frozen, captions, parts) for captions in (right, wrong))
        result["clip"] = float(np.mean(((near - far) * pictures[indices]).sum(axis=1) > 0))
    return result


@paddle.no_grad()
def latent_errors(prior, latents, captions, indices) -> np.ndarray:
    """Mean squared errors (B,) of the prior's estimates of latents[indices] at TIME; picture i has its own noise."""
    x0 = latents.index_select(paddle.to_tensor(indices))
    epsilon = NoiseStream(indices, "words").normal(x0.shape[1:])
    schedule = CosineSchedule()
    log_snr = schedule.log_snr(paddle.full([len(indices)], TIME))
    noised = diffuse(x0, epsilon, log_snr)
    conditions = prior.inputs(prior.encoded(captions)).conditions
    output = prior.unet(noised, schedule.noise_condition(log_snr), **conditions).astype("float32")
    check_finite(output, "Stage C: its prediction", prior.blame)
    estimate = undiffuse(noised, prediction_of(prior.unet).epsilon(output, noised, log_snr), log_snr)
    return ((estimate - x0) ** 2).mean(axis=[1, 2, 3]).numpy()


def table(result: dict) -> str:
    rows = []
    for swap in result["swaps"]:
        prior = swap["prior"]
        errors = ["-"] * 3
        if prior:
            errors = [
                f"{prior['right']:.3f}",
                f"{prior['swapped']:.3f}",
                f"{prior['swapped'] / prior['right'] - 1:+.1%}",
            ]
        rows.append((swap["words"], swap["captions"], percent(swap["clip"]), *errors))
    header = ("words swapped", "captions", "CLIP prefers the right one", "prior's error", "swapped", "rise")
    return (
        f"{markdown_table(header, rows)}\n\nChance is 50 %. The prior's error: mean squared, of its estimate of the latent from "
        f"noise of t = {result['time']}."
    )


def swapped(caption: str, pair: tuple) -> str:
    """The caption with the two words exchanged everywhere in it; the caption itself where it has neither of them."""
    first, second = pair
    return re.sub(rf"\b({first}|{second})\b", lambda match: second if match[0] == first else first, caption)


def changed_captions(captions, pair: tuple) -> tuple[list, list]:
    """Indices of the captions that a swap changes, and what it makes of them."""
    wrong = [swapped(caption, pair) for caption in captions]
    indices = [index for index, caption in enumerate(captions) if wrong[index] != caption]
    return indices, [wrong[index] for index in indices]
