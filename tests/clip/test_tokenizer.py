"""ldm.clip.tokenizer: a vocabulary learned from captions, in files that PaddleNLP's tokenizer reads."""

import json
import random
import re

import pytest

from ldm.clip.encoders import TextEncoder
from ldm.clip.tokenizer import TOKENIZER_FILES, count_words, load_tokenizer, write_tokenizer
from ldm.clip.tower import new_text_tower
from ldm.demo.rule_clip import write_tokenizer as write_byte_tokenizer
from ldm.demo.scenes.dataset import SceneSettings, make_example

SCENES = SceneSettings(count=600)
CAPTIONS = [make_example(SCENES, index)[1] for index in range(SCENES.count)]
LEARNED = 512  # the id of the first token after the bytes'


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder learned from scene captions, and the fields it comes with."""
    folder = tmp_path_factory.mktemp("built") / "tokenizer"
    return folder, write_tokenizer(folder, CAPTIONS, max_length=40, vocab_size=1024)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_word_of_the_scenes_is_one_token(built):
    folder, fields = built
    tokenizer = load_tokenizer(folder)
    words = {word for caption in CAPTIONS for word in re.findall(r"\w+|[^\w\s]", caption)}
    assert len(words) > 50
    for word in words:
        assert tokenizer.tokenize(word.upper()) == [f"{word}</w>"]
    assert max(tokenizer.get_vocab().values()) == fields["vocab_size"] - 1 < 1023


def test_ids_are_those_of_the_files(built):
    folder, fields = built
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    assert list(vocabulary.values()) == list(range(fields["vocab_size"]))
    start, end = fields["bos_token_id"], fields["eos_token_id"]
    assert (start, end, fields["pad_token_id"]) == (len(vocabulary) - 2, len(vocabulary) - 1, len(vocabulary) - 1)

    tokenizer = load_tokenizer(folder)
    words = ["a</w>", "red</w>", "ring</w>", "on</w>", "a</w>", "blue</w>", "background</w>"]
    expected = [start, *(vocabulary[word] for word in words), end]
    assert tokenizer("A red  ring on a BLUE background")["input_ids"] == expected
    assert vocabulary["a</w>"] < LEARNED <= vocabulary["red</w>"] < start
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (start, end, end)


def test_text_encoder_takes_its_limits_from_the_files(built):
    folder, fields = built
    sizes = dict(hidden_size=8, intermediate_size=8, projection_dim=4, num_hidden_layers=1, num_attention_heads=1)
    tower = new_text_tower({**sizes, **fields, "hidden_act": "gelu", "max_position_embeddings": 48})
    encoder = TextEncoder(tower, load_tokenizer(folder))
    assert encoder.max_length == 40
    ids, mask = encoder.tokenize(["a red ring", "ring " * 60])
    assert ids.shape == (2, 40) and mask.sum(1).tolist() == [5, 40] and ids[1, -1] == fields["eos_token_id"]
    assert encoder.encode(["a red ring"])[1].shape == [1, 1, 4]


@pytest.mark.parametrize("text", ["東京の猫", "ελληνικά é ñ", "🐈 naïve", "word1234, (x) ~^\\"])
def test_any_text_has_ids_and_comes_back(built, text):
    tokenizer = load_tokenizer(built[0])
    tokens = tokenizer.tokenize(text)
    vocabulary = tokenizer.get_vocab()
    assert tokens and all(token in vocabulary for token in tokens)
    assert tokenizer.convert_tokens_to_string(tokens).replace(" ", "") == text.replace(" ", "")


def test_order_of_the_captions_changes_nothing(built, tmp_path):
    shuffled = random.Random(0).sample(CAPTIONS, len(CAPTIONS))
    write_tokenizer(tmp_path, iter(shuffled), max_length=40, vocab_size=1024)
    assert contents(tmp_path) == contents(built[0])
    assert set(contents(tmp_path)) == {*TOKENIZER_FILES, "special_tokens_map.json"}


def test_a_small_vocabulary_goes_to_the_frequent_words(tmp_path):
    fields = write_tokenizer(tmp_path, ["moon moon moon sun"], max_length=8, vocab_size=514 + 3)
    assert fields["vocab_size"] == 517
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.tokenize("moon") == ["moon</w>"] and tokenizer.tokenize("sun") == ["s", "u", "n</w>"]


def test_without_room_for_merges_it_is_the_byte_tokenizer(tmp_path):
    write_tokenizer(tmp_path / "learned", CAPTIONS, max_length=77, vocab_size=514)
    write_byte_tokenizer(tmp_path / "bytes")
    assert contents(tmp_path / "learned") == contents(tmp_path / "bytes")


def test_words_are_counted_as_the_tokenizer_splits_them():
    counts = count_words(["A cat's <|endoftext|> hat", "a Cat", "a Cat", "é 12"])
    assert counts == {"a": 3, "cat": 3, "'s": 1, "hat": 1, "Ã©": 1, "1": 1, "2": 1}  # é: bytes C3 A9


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"max_length": 2}, "max_length is 2.*3"),
        ({"vocab_size": 513}, "vocab_size is 513.*514.*49408"),
        ({"vocab_size": 49409}, "vocab_size is 49409"),
        ({"captions": []}, "no word"),
        ({"captions": [" ", ""]}, "no word"),
        ({"captions": "a cat"}, "one string.*list"),
        ({"captions": ["a cat", None]}, "caption 1 is None"),
    ],
)
def test_refusals(tmp_path, changes, message):
    arguments = {"captions": ["a cat"], "max_length": 8, "vocab_size": 600} | changes
    with pytest.raises(ValueError, match=message):
        write_tokenizer(tmp_path / "tokenizer", **arguments)
    assert not (tmp_path / "tokenizer").exists()
