"""Checks of what is trained on: how many samples, which shapes, captions that are cut, latents as they should be."""

import numpy as np
import paddle

from ldm.clip.tokenizer import load_tokenizer
from ldm.common.preflight_report import Report
from ldm.data.sources.mix import Subset
from ldm.training.task import Task
from ldm.weights.files import TensorFile

CAPTIONS = 5000  # whose tokens are counted
BAR = 40  # characters of the longest bar
TOGETHER = 4  # images encoded at once
# Standard deviation of the latents within their channels. The bundled demo's encoder gives 0.78 to 1.11 on two or more pictures
# of its kind; without ImageNet's normalisation 0.22 to 0.34, with it of pixels in [-1, 1] instead of [0, 1] 1.06 to 1.94 (and
# means of -1), without it of those 0.43 to 0.66, of pixels up to 255 over 100.
LOWEST, LOW, HIGH, HIGHEST = 0.45, 0.7, 1.4, 1.65
FAR, FARTHEST = 0.3, 0.6  # of the mean from 0; 0.01 to 0.05 measured


def check_samples(report: Report, dataset, samples_per_step: int):
    """How many there are; with buckets, how many of each shape."""
    source, count = dataset.source, len(dataset)
    total = source.source if isinstance(source, Subset) else source  # before --skip_corrupt and --data_filter
    left_out = f" of {len(total)}, {len(total) - count} left out" if len(total) != count else ""
    mix = dataset.mix
    of_two = f" ({mix.own} and {mix.other} mixed in)" if mix else ""
    report.say("samples", f"{count}{of_two}{left_out}, each with its caption, in {source.where}")
    buckets = dataset.buckets
    if buckets is not None:
        report.say("buckets", histogram(buckets.shapes, np.bincount(buckets.own, minlength=len(buckets.shapes))))
    elif count < samples_per_step:
        report.warn(
            f"A step takes {samples_per_step} samples and there are {count}: some are in it more than once. Use a smaller "
            "--per_device_train_batch_size or --gradient_accumulation_steps."
        )


def histogram(shapes, counts) -> str:
    """Bars of text, one line for each shape (width, height) that has images."""
    longest = max(1, int(np.max(counts)))
    return "\n".join(
        f"{f'{width}x{height}':>9} {'#' * max(1, round(BAR * count / longest))} {count}"
        for (width, height), count in zip(shapes, np.asarray(counts).tolist())
        if count
    )


def check_captions(report: Report, task: Task):
    """How many captions have more tokens than the text encoder takes: what is over the limit is cut."""
    dataset, frozen = task.dataset, task.frozen
    if frozen is None:
        return
    text = frozen.text if "text" in frozen.loaded else None  # its tokenizer is enough
    tokenizer = text.tokenizer if text else load_tokenizer(frozen.folders["tokenizer"])
    limit = task.max_tokens or (text.max_length if text else int(tokenizer.model_max_length))
    count = min(CAPTIONS, len(dataset))
    captions = [dataset.captions[index] for index in range(count)]
    lengths = [len(ids) for ids in tokenizer(captions, return_token_type_ids=False)["input_ids"]]
    cut = [index for index, length in enumerate(lengths) if length > limit]
    looked_at = "" if count == len(dataset) else f" of the first {count}"
    report.say("captions", f"{len(cut)}{looked_at} are cut at {limit} tokens; the longest has {max(lengths)}")
    if len(cut) > count / 10:
        report.warn(
            f"{len(cut)} of {count} captions lose their ends, {dataset.source.label(cut[0])} the first: shorten them."
        )


@paddle.no_grad()
def sample_latents(task: Task, count: int):
    """The prior's latents of samples spread over the dataset, [(16, h, w), ...], or None where none are trained on."""
    dataset = task.dataset
    chosen = np.unique(np.linspace(0, len(dataset) - 1, min(count, len(dataset))).astype(int)).tolist()
    if task.cached:
        return [dataset[index]["latents"].astype("float32") for index in chosen]
    if task.frozen is None or task.encoder is not None:
        return None
    latents = []
    for start in range(0, len(chosen), TOGETHER):
        images = np.stack([dataset[index]["image"] for index in chosen[start : start + TOGETHER]])
        latents += list(task.frozen.effnet.encode(paddle.to_tensor(images)).numpy())
    return latents


def check_latents(report: Report, task: Task, count: int):
    """Mean about 0 and standard deviation about 1: what the right encoder makes of rightly normalised images."""
    latents = sample_latents(task, count)
    if latents is None:
        return
    values = np.concatenate([latent.reshape(len(latent), -1) for latent in latents], axis=1)
    path = task.frozen.release.file("effnet")
    with TensorFile(path) as file:
        untrained = "weights" in file.metadata
    judge_latents(report, values, len(latents), path, untrained)


def judge_latents(report: Report, values, count: int, encoder, untrained: bool = False):
    """values (16, N) of `count` samples. untrained: the encoder's file says so, and nothing follows from the numbers.

    The deviation is that within the channels: an offset of each channel is no content. Of one flat picture it may be anything.
    """
    mean, deviation = float(values.mean()), float(values.var(axis=1).mean() ** 0.5)
    lowest = LOWEST if count > 1 else 0
    channels = values.mean(axis=1)
    text = f"{count} samples: mean {mean:.3f}, std {deviation:.3f}, channel means {channels.min():.2f} to {channels.max():.2f}"
    report.say("latents", text + (" (an encoder that was not trained: not judged)" if untrained else ""))
    if not np.isfinite(values).all():
        report.problem(f"{encoder} gives latents that are no numbers: download or convert it again.")
    elif untrained or (LOW <= deviation <= HIGH and abs(mean) <= FAR):
        return
    elif lowest <= deviation <= HIGHEST and abs(mean) <= FARTHEST:
        report.warn(f"Latents have mean {mean:.3f} and std {deviation:.3f}; the right encoder gives about 0 and 1.")
    else:
        report.problem(
            f"The latents of {encoder} have mean {mean:.3f} and std {deviation:.3f}; the right encoder gives about 0 and 1 "
            f"(taken: std {LOWEST} to {HIGHEST}, mean within {FARTHEST}). Wrong images, an encoder of another kind or another "
            "normalisation than ImageNet's: use the release's effnet_encoder, run scripts/standardise_encoder.py on one of "
            "your own, make a feature cache again; or add --preflight False if it is meant."
        )
