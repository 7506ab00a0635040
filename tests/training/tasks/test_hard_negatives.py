"""Wrong captions by swapped and replaced words, and what the CLIP loss makes of them."""

import json
import re
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from helpers import ROOT
from small_release import write_scenes_and_release

from ldm.clip.pair import ClipPair
from ldm.demo.scenes.captions import POSITION_WORDS, RELATION_WORDS, SHAPE_WORDS, SIZE_WORDS
from ldm.demo.scenes.shapes import SHAPES
from ldm.training.flags.arguments import parse_into
from ldm.training.run import train
from ldm.training.tasks import clip
from ldm.training.tasks.hard_negatives import HardNegatives

GROUPS = [[["red"], ["blue"], ["grey", "gray"]], [["plus sign", "cross"], ["star"]], [["left"], ["right"]]]
PLACES, SHAPES_AND_SIZES = (ROOT / "assets" / f"demo_negative_{name}.json" for name in ("places", "shapes"))
DEMO = f"{PLACES} {SHAPES_AND_SIZES}"


def wrong(caption, count=200, groups=GROUPS):
    return set(HardNegatives(groups).make(caption, count, np.random.default_rng(0)))


def test_one_word_is_replaced_by_another_value_of_its_group():
    assert wrong("a red thing") == {"a blue thing", "a grey thing", "a gray thing"}
    assert wrong("a gray thing") == {"a red thing", "a blue thing"}  # not by its other wording
    assert wrong("a plus sign") == {"a star"}


def test_two_words_of_a_group_are_swapped_as_well():
    made = wrong("a red star left of a blue cross")
    assert {
        "a blue star left of a red cross",
        "a red cross left of a blue star",
        "a red star right of a blue cross",
    } <= made
    assert "a red star left of a blue cross" not in made


def test_parts_of_words_stay():
    assert wrong("a bluebird left of a starfish") == {"a bluebird right of a starfish"}


def test_each_group_is_as_frequent_as_the_others():
    made = HardNegatives(GROUPS).make("red red red red left", 600, np.random.default_rng(0))
    assert 250 < sum(caption.endswith("right") for caption in made) < 350


def test_a_caption_without_such_words_is_named():
    with pytest.raises(ValueError, match="'a house' is in a group of --negative_words"):
        wrong("a house")


@pytest.mark.parametrize(
    "text", ["{", "[]", '[["left", "right"]]', '[[["left"]]]', '[[["a"], ["a"]]]', '[[["a"], [1]]]']
)
def test_bad_files_are_named(text, tmp_path):
    (tmp_path / "words.json").write_text(text)
    with pytest.raises(ValueError, match="words.json"):
        HardNegatives.from_file(tmp_path / "words.json")


def test_the_demos_groups_know_the_scenes_words():
    places, known = (set(HardNegatives.from_file(path).places) for path in (PLACES, SHAPES_AND_SIZES))
    wordings = [wording for words in (SHAPE_WORDS, SIZE_WORDS) for value in words.values() for wording in value]
    assert set(SHAPES) | set(wordings) == known
    for words in (POSITION_WORDS, RELATION_WORDS):
        for wording in (wording for value in words.values() for wording in value):
            assert set(re.findall(r"\w+", wording)) & places or re.search(r"middle|cent(re|er)", wording), wording


def test_the_first_file_with_a_word_of_the_caption_counts():
    arguments = SimpleNamespace(negative_words=[PLACES, SHAPES_AND_SIZES], negatives=20)
    make = clip._wrong_captions(arguments, seed=0)
    assert set(make("a small star left of a ring", 0)) == {"a small star right of a ring"}
    assert "a large star" in make("a small star", 0)
    with pytest.raises(ValueError, match="'a house' is in a group"):
        make("a house", 0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_scenes_and_release(tmp_path_factory.mktemp("negatives"))


def arguments(folders, tmp_path, flags):
    common = f"--do_train --weights_path {folders / 'release'} --dataset_path {folders / 'scenes'} --output_dir {tmp_path / 'out'} "
    return parse_into(clip.GROUPS, (common + flags).split())


def test_training_learns_to_tell_wrong_captions(folders, tmp_path):
    flags = f"--max_steps 30 --image_logging_steps 30 --per_device_train_batch_size 6 --learning_rate 2e-3 --negative_words {DEMO} --negatives 3"
    train(clip.build_task, *arguments(folders, tmp_path, flags))
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    first, last = (entry["fixed_loss"] for entry in history if "fixed_loss" in entry)
    assert last < first - 0.3


def test_the_same_sample_has_the_same_wrong_captions_and_they_count_for_the_image_alone(folders, tmp_path):
    flags = f"--per_device_train_batch_size 4 --negative_words {DEMO}"
    model_args, data_args, args = arguments(folders, tmp_path, flags)
    task = clip.build_task(model_args, data_args, args)
    batches = [task.collate([task.dataset[index] for index in (0, 3, 5)]) for _ in range(2)]
    assert batches[0]["negative_ids"].shape == (3, 2, batches[0]["input_ids"].shape[1])
    assert np.array_equal(batches[0]["negative_ids"], batches[1]["negative_ids"])
    batch = {name: paddle.to_tensor(value) for name, value in batches[0].items() if name != "index"}
    model: ClipPair = task.model
    model.eval()
    with paddle.no_grad():
        text = model.embed_text(batch["input_ids"], batch["attention_mask"]).numpy()
        image = model.embed_images(batch["clip_pixels"]).numpy()
        negative = model.embed_text(batch["negative_ids"].flatten(0, 1), batch["negative_mask"].flatten(0, 1)).numpy()
        loss = float(model(**batch))
    scale = float(np.exp(model.logit_scale.numpy()))
    logits = scale * image @ text.T
    own_negatives = scale * np.einsum("bd,bkd->bk", image, negative.reshape(3, 2, -1))

    def cross_entropy(rows):
        return np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(rows)])

    expected = (cross_entropy(logits.T) + cross_entropy(np.concatenate([logits, own_negatives], axis=1))) / 2
    assert loss == pytest.approx(expected, rel=1e-4)
