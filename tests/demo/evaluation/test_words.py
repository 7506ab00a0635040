"""Swapped words: what a swap makes of captions, and that a prior and towers that listen are told from deaf ones."""

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ldm.demo.evaluation import words
from ldm.demo.evaluation.bench import Bench
from ldm.demo.evaluation.settings import EvaluationSettings
from ldm.demo.evaluation.words import SWAPS, changed_captions, swapped
from ldm.diffusion.schedule import CosineSchedule, undiffuse


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("a red star left of a green one", "a green star left of a red one"),
        ("a reddish star", "a reddish star"),
        ("", ""),
    ],
)
def test_both_words_change_places_and_no_others_do(caption, expected):
    assert swapped(caption, ("red", "green")) == expected
    assert swapped(expected, ("red", "green")) == caption


def test_only_changed_captions_count():
    assert changed_captions(["above it", "a star", "below it"], ("above", "below")) == (
        [0, 2],
        ["below it", "above it"],
    )


class ListeningUNet:
    """Knows the latent of every right caption; of others only a share of it."""

    prediction_type = "epsilon"

    def __init__(self, known: dict, share: float):
        self.known, self.share = known, share

    def __call__(self, x, r, captions):
        log_snr = CosineSchedule().log_snr(r)
        x0 = paddle.stack([self.known.get(text, self.share * self.known[None]) for text in captions])
        noise_part = undiffuse(x, x0 * 0, log_snr)  # x / alpha
        return (noise_part - x0) * (log_snr * -0.5).exp().reshape([-1, 1, 1, 1]) ** -1


def bench_with(tmp_path, monkeypatch, deaf: bool, towers: bool = True) -> Bench:
    bench = Bench(EvaluationSettings(count=24), tmp_path, None)
    latents = paddle.ones([24, 16, 6, 6])
    known = {} if deaf else {caption: latents[0] for caption in bench.captions}
    known[None] = latents[0]
    vector = {caption: np.eye(24)[index] for index, caption in enumerate(bench.captions)}

    def embed(frozen, captions, parts):
        return np.stack([vector.get(caption, np.full(24, 24**-0.5)) for caption in captions])

    monkeypatch.setattr(words, "prior_latents", lambda cascade, images: paddle.ones([len(images), 16, 6, 6]))
    monkeypatch.setattr(words, "same_clip", lambda frozen: towers)
    monkeypatch.setattr(words, "text_embeds", embed)
    monkeypatch.setattr(words, "picture_embeds", lambda frozen, pictures, parts: np.eye(24))
    prior = SimpleNamespace(
        frozen=None,
        encoded=lambda captions: captions,
        inputs=lambda captions: SimpleNamespace(conditions={"captions": captions}),
        unet=ListeningUNet(known, share=0.5),
        blame=str,
    )
    return Bench(bench.settings, tmp_path, None, SimpleNamespace(prior=prior))


def test_a_prior_that_listens_errs_with_the_wrong_word(tmp_path, monkeypatch):
    result = words.measure(bench_with(tmp_path, monkeypatch, deaf=False))
    assert [swap["words"] for swap in result["swaps"]] == ["/".join(pair) for pair in SWAPS]
    for swap in (swap for swap in result["swaps"] if swap["captions"]):
        assert swap["prior"]["right"] < 1e-4 and swap["prior"]["swapped"] == pytest.approx(0.25, rel=1e-3)
        assert swap["clip"] == 1
    assert "red/green" in words.table(result) and "100.0%" in words.table(result)


def test_a_deaf_prior_shows_no_rise_and_unlike_towers_no_choice(tmp_path, monkeypatch):
    result = words.measure(bench_with(tmp_path, monkeypatch, deaf=True, towers=False))
    assert all(swap["clip"] is None for swap in result["swaps"])
    assert all(swap["prior"]["swapped"] == swap["prior"]["right"] for swap in result["swaps"] if swap["captions"])
    assert "+0.0%" in words.table(result)
