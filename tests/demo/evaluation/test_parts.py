"""The parts with other generators in place of the cascade: perfect ones, wrong ones, ones that ignore the seed."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from PIL import Image

from ldm.demo.evaluation import grid, judge, prompts, retrieval, seeds
from ldm.demo.evaluation.bench import Bench, batch_slices, cascade_generator, held_out_examples
from ldm.demo.evaluation.latents import prior_latents, training_size
from ldm.demo.evaluation.results import RESULTS_FILE, open_results
from ldm.demo.evaluation.scores import find_row
from ldm.demo.evaluation.settings import PARTS, EvaluationSettings, Untrustworthy
from ldm.demo.evaluation.suite import SUITE, measure_parts
from ldm.demo.scenes.dataset import SceneSettings, make_example
from ldm.demo.scenes.render import render
from ldm.demo.scenes.sampling import held_out
from ldm.sizes import prior_grid

SETTINGS = EvaluationSettings(count=40, grid_count=12)
WEIGHTS = {"sha256": "0", "files": {"prior.safetensors": "0"}}
SURROUNDINGS = {"device": "cpu", "dtype": "float32", "versions": {}}


def perfect(settings=SETTINGS):
    """A generator that draws what the caption of a test scene says, arranged by the seed."""
    scenes = {example.caption: example.scene for example in held_out_examples(settings.count, settings.size, 0)}

    def generate(captions, seed, **changes):
        return np.stack([render(replace(scenes[text], seed=seed + i), 256) for i, text in enumerate(captions)])

    return generate


def shuffled(captions, seed, **changes):
    return np.roll(perfect()(captions, seed), 1, axis=0)


@pytest.fixture
def bench(tmp_path):
    return Bench(SETTINGS, tmp_path, perfect())


def shares(rows, attribute) -> list:
    return [find_row(rows, objects, attribute)["share"] for objects in (1, 2)]


def test_evaluation_prompts_hold_what_training_never_shows():
    examples = held_out_examples(200, 256, 0)
    assert all(held_out(example.scene) for example in examples)
    training = [make_example(SceneSettings(200, 256, seed, "train"), index) for seed in (0, 1) for index in range(200)]
    assert not any(held_out(scene) for scene, _ in training)
    assert not {example.caption for example in examples} & {caption for _, caption in training}


def test_more_prompts_begin_with_the_same_ones():
    assert held_out_examples(9, 256, 3)[:4] == held_out_examples(4, 256, 3) != held_out_examples(4, 256, 4)


def test_the_judge_is_trusted_on_true_pictures_only(bench):
    result = judge.measure(bench)
    assert result["failure"] is None and min(row["share"] for row in result["scores"]) == 1
    assert "100.0%" in judge.table(result)
    wrong = judge.examine(np.roll(bench.true_pictures, 1, axis=0), bench.scenes)
    assert "shape of 1" in wrong["failure"] and wrong["failure"] in judge.table(wrong)


def test_a_judge_that_takes_everything_for_right_is_not_trusted(bench):
    same = bench.examples[0]
    result = judge.examine([render(same.scene)] * 4, [same.scene] * 4)
    assert "other prompts" in result["failure"]


def test_a_perfect_generator_scores_everything_and_everything_is_kept(bench):
    result = prompts.measure(bench)
    assert shares(result["scores"], "all") == [1, 1] and result["seconds_per_image"] > 0
    lines = [json.loads(line) for line in (bench.folder / prompts.LIST).read_text().splitlines()]
    assert len(lines) == SETTINGS.count
    for index, (line, example) in enumerate(zip(lines, bench.examples)):
        assert line["caption"] == example.caption and line["seed"] == line["index"] == index
        assert (
            line["held_out"]
            and line["verdict"]["all"]
            and line["scene"] == json.loads(json.dumps(example.scene.to_dict()))
        )
        assert {one["shape"] for one in line["read"]["sightings"]} == {item.shape for item in example.scene.items}
    with Image.open(bench.folder / prompts.SHEET) as sheet:
        assert sheet.width == 6 * 256 + 5 * 4 and sheet.height > 4 * 256


def test_shuffled_pictures_score_at_chance(bench):
    result = prompts.measure(replace(bench, generate=shuffled))
    assert shares(result["scores"], "all") == [0, 0]
    for attribute in ("colour", "shape", "background"):
        assert max(shares(result["scores"], attribute)) < 0.35  # chance is a tenth and less, of 20 pictures each


def test_the_grid_asks_for_every_cell(bench):
    asked = []

    def generate(captions, seed, cfg, steps):
        asked.append((cfg, steps, len(captions), seed))
        return (perfect() if cfg == 4 else shuffled)(captions, seed)

    result = grid.measure(replace(bench, generate=generate))
    assert asked == [(cfg, steps, 12, 0) for cfg in grid.CFGS for steps in grid.STEPS]
    for cell in result["cells"]:
        assert (cell["scores"]["one object: all"]["share"] == 1) == (cell["cfg"] == 4)
    assert len(grid.table(result).splitlines()) == 2 + 12


def test_seeds_tell_another_picture_from_the_same_one(bench):
    result = seeds.measure(bench)
    assert result["same_seed_same_bytes"] and result["difference"]["other_seed"]["mean"] > 1
    constant = replace(bench, generate=lambda captions, seed: perfect()(captions, 0))
    assert seeds.measure(constant)["difference"]["other_seed"]["largest"] == 0
    calls = []
    noise = replace(
        bench,
        generate=lambda captions, seed: calls.append(seed) or perfect()(captions, len(calls)),
    )
    assert not seeds.measure(noise)["same_seed_same_bytes"] and "DOES NOT" in seeds.table(seeds.measure(noise))


def with_towers(bench, width: int):
    """A bench whose towers embed a caption and its true picture as the same 192 numbers; the text's claims `width`."""
    drawn = dict(zip(bench.captions, bench.true_pictures))

    def embed(pixels):  # (B, 3, 32, 32) -> (B, 192), without what all pictures share
        return pixels.reshape(len(pixels), 3, 8, 4, 8, 4).mean((3, 5)).reshape(len(pixels), 192) - 0.5

    def encode(captions):
        small = [Image.fromarray(drawn[caption]).resize((32, 32), Image.Resampling.BICUBIC) for caption in captions]
        pixels = np.stack([np.asarray(image, np.float32).transpose(2, 0, 1) / 255 for image in small])
        return None, paddle.to_tensor(embed(pixels)[:, None])

    class Images:
        image_size, projection_dim = 32, 192

        def __call__(self, pixels):
            return paddle.to_tensor(embed(pixels.numpy())[:, None])

    frozen = SimpleNamespace(text=SimpleNamespace(encode=encode, projection_dim=width), image=Images())
    return replace(bench, cascade=SimpleNamespace(prior=SimpleNamespace(frozen=frozen)))


def test_towers_of_one_model_are_compared_and_others_are_not(bench):
    result = retrieval.measure(with_towers(bench, 192))
    assert {way["share"] for way in result["ways"].values()} == {1} and "text to image" in retrieval.table(result)
    assert "1280" in retrieval.table(retrieval.measure(with_towers(bench, 1280)))


def test_results_are_saved_after_every_part_and_a_failure_stops_the_run(bench, monkeypatch):
    said = []
    monkeypatch.setattr(judge, "LEAST_RIGHT", 1.1)
    with pytest.raises(Untrustworthy, match="on true pictures"):
        measure_parts(bench, ["judge", "seeds"], {"weights": WEIGHTS, "parts": {}}, SURROUNDINGS, said.append)
    assert list(json.loads((bench.folder / RESULTS_FILE).read_text())["parts"]) == ["judge"]
    assert len(said) == 1 and "cannot be trusted" in said[0]


def test_results_of_other_weights_are_not_mixed(bench):
    measure_parts(bench, ["judge"], {"weights": WEIGHTS, "parts": {}}, SURROUNDINGS, lambda text: None)
    other = {**WEIGHTS, "sha256": "1"}
    assert set(open_results(bench.folder, WEIGHTS, ["seeds"])["parts"]) == {"judge"}
    assert open_results(bench.folder, other, ["judge", "seeds"]) == {"weights": other, "parts": {}}
    with pytest.raises(ValueError, match="holds judge of other weights"):
        open_results(bench.folder, other, ["seeds"])
    (bench.folder / RESULTS_FILE).write_text("{")
    with pytest.raises(ValueError, match="remove it"):
        open_results(bench.folder, WEIGHTS, ["seeds"])


def test_every_named_part_exists():
    assert tuple(SUITE) == PARTS


def test_the_cascade_is_asked_in_batches_with_growing_seeds():
    calls = []

    def cascade(captions, batch_size, settings, progress):
        calls.append((captions, batch_size, settings.seed, settings.cfg, settings.steps, progress))
        return np.zeros((batch_size, settings.height, settings.width, 3), np.uint8)

    generate = cascade_generator(cascade, EvaluationSettings(batch_size=2, steps=7))
    assert generate(("a", "b", "c"), 5, cfg=1.0).shape == (3, 256, 256, 3)
    assert calls == [(["a", "b"], 2, 5, 1.0, 7, False), (["c"], 1, 7, 1.0, 7, False)]
    assert batch_slices(4, 2) == [slice(0, 2), slice(2, 4)]


@pytest.mark.parametrize("size, trained", [(256, 192), (512, 384), (1024, 768), (264, 198)])
def test_true_pictures_are_encoded_at_the_training_size_on_the_grid_of_generation(size, trained):
    assert training_size(size) == trained
    seen = []
    cascade = SimpleNamespace(prior=SimpleNamespace(encode=lambda images: seen.append(images) or images))
    prior_latents(cascade, [np.full((size, size, 3), 255, np.uint8)] * 2)
    assert seen[0].shape == [2, 3, trained, trained] and float(seen[0].min()) == float(seen[0].max()) == 1
    assert -(-trained // 32) == prior_grid(size, size)[0]
