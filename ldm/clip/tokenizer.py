"""CLIP's tokenizer: read from files that are checked first, and learned from captions.

PaddleNLP's reader names no file, and takes a damaged one for a smaller one. What is learned is byte-level BPE (Sennrich et
al., https://arxiv.org/abs/1508.07909) as CLIP has it: every byte has a token, so any text in any language has ids; words
that are frequent in the captions become one token.
"""

import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from ldm.clip.files import (
    END,
    SMALLEST_VOCABULARY,
    START,
    WORD_END,
    byte_letters,
    existing_file,
    existing_folder,
    remedy,
    write_tokenizer_files,
)
from ldm.common.json_files import read_json

TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json")
LARGEST_MERGES = 16 << 20  # bytes; CLIP's have half a megabyte
MOST_TOKENS = 1 << 20
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
SETTINGS = {  # of tokenizer_config.json: what a value may be
    "model_max_length": lambda v: type(v) in (int, float) and 3 <= v < float("inf"),
    "errors": lambda v: v in ("strict", "ignore", "replace"),
    "do_lower_case": lambda v: isinstance(v, bool),
    "add_prefix_space": lambda v: isinstance(v, bool),
    **dict.fromkeys(("tokenizer_class", "processor_class", "name_or_path"), lambda v: v is None or isinstance(v, str)),
}
REFUSED = ("vocab_file", "merges_file", "auto_map", "chat_template")  # would have other files read, or code
LARGEST_VOCABULARY = 49408  # PaddleNLP's CLIPTokenizer reads no more merges than CLIP's own vocabulary has
SHORTEST = 3  # start, one token, end


def load_tokenizer(folder):
    """The CLIPTokenizer of a folder; its files are checked first, since PaddleNLP's own messages name none."""
    from paddlenlp.transformers import CLIPTokenizer

    folder = existing_folder(folder, "tokenizer/")
    for name in TOKENIZER_FILES:
        existing_file(folder / name)
    check_tokenizer_files(folder, remedy("tokenizer/"))
    try:
        # An absolute path, so that a folder's name can never be taken for a model to download.
        tokenizer = CLIPTokenizer.from_pretrained(str(folder.resolve()))
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        RecursionError,
    ) as error:  # PaddleNLP's, for settings of other kinds
        why = " ".join(str(error).split())
        raise ValueError(
            f"{folder}: its tokenizer_config.json or special_tokens_map.json is damaged ({why:.200}): {remedy('tokenizer/')}"
        ) from error
    tokenizer.name_or_path = str(folder)
    return tokenizer


def check_tokenizer_files(folder, remedy: str):
    """ValueError naming the file of a folder that no tokenizer can be read from as it was written.

    Every token of vocab.json is a byte, a special token, or made by a line of merges.txt, and every line makes one:
    half of a file is not taken for all of it.
    """
    folder = Path(folder)
    vocabulary = _read_vocabulary(folder / "vocab.json", remedy)
    special = {START, END}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if name == "tokenizer_config.json" or (folder / name).exists():
            special |= _special_tokens(folder / name, vocabulary, remedy)
    _check_added(folder / "added_tokens.json", vocabulary, remedy)
    _check_merges(folder / "merges.txt", vocabulary, special, remedy)


def _read_vocabulary(path: Path, remedy: str) -> dict:
    vocabulary = read_json(path, remedy=remedy)
    ids = list(vocabulary.values())
    if not all(type(index) is int for index in ids) or sorted(ids) != list(range(len(ids))) or len(ids) > MOST_TOKENS:
        wrong = next((item for item in vocabulary.items() if type(item[1]) is not int), None)
        what = f"{wrong!r:.100} is no id" if wrong else f"its {len(ids)} ids do not count from 0"
        raise ValueError(f"{path} is damaged: {what}: {remedy}.")
    lacking = [token for letter in byte_letters() for token in (letter, letter + WORD_END) if token not in vocabulary]
    if lacking:
        raise ValueError(f"{path} is damaged: {len(lacking)} of the tokens of single bytes are missing: {remedy}.")
    return vocabulary


def _special_tokens(path: Path, vocabulary: dict, remedy: str) -> set:
    """The special tokens that a file names, each of which must be in the vocabulary."""
    content, tokens = read_json(path, remedy=remedy), set()
    for name, value in content.items():
        if name in REFUSED or (name in SETTINGS and not SETTINGS[name](value)):
            raise ValueError(f"{path}: {name} is {value!r:.100}, which is not read: {remedy}.")
        if name in SPECIAL:
            token = value.get("content") if isinstance(value, dict) else value
            if not isinstance(token, str) or token not in vocabulary:
                raise ValueError(f"{path}: {name} is {value!r:.100}, no token of vocab.json: {remedy}.")
            tokens.add(token)
    return tokens


def _check_added(path: Path, vocabulary: dict, remedy: str):
    """Of tokens beside the vocabulary, those that are in it do no harm."""
    for token, index in read_json(path, remedy=remedy).items() if path.exists() else ():
        if vocabulary.get(token) != index:
            raise ValueError(f"{path}: {token!r:.60} with the id {index!r:.60} is not in vocab.json: {remedy}.")


def _check_merges(path: Path, vocabulary: dict, special: set, remedy: str):
    if (size := path.stat().st_size) > LARGEST_MERGES:
        raise ValueError(f"{path} has {size} bytes, more than the {LARGEST_MERGES} that it may have: {remedy}.")
    try:
        first, *lines = path.read_text(encoding="utf-8").strip().split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error}): {remedy}.") from error
    if not first.startswith("#version"):  # whatever stands there is not read
        raise ValueError(f"{path} does not begin with #version: it is emptied or another file: {remedy}.")
    made = set()
    for number, line in enumerate(lines, 2):
        parts = line.split()
        if len(parts) != 2 or not all(token in vocabulary for token in (*parts, "".join(parts))):
            raise ValueError(f"{path}, line {number}: {line!r:.100} is no merge of two tokens of vocab.json: {remedy}.")
        made.add("".join(parts))
    letters = byte_letters()
    unmade = vocabulary.keys() - made - special - {*letters, *(letter + WORD_END for letter in letters)}
    if unmade:
        raise ValueError(
            f"{path} is not complete: its {len(lines)} merges do not make {len(unmade)} tokens of vocab.json, "
            f"{sorted(unmade)[0]!r:.60} among them: {remedy}."
        )


def write_tokenizer(folder, captions, max_length: int, vocab_size: int) -> dict:
    """Learn a vocabulary of at most `vocab_size` tokens and write the folder that `ldm.clip.tokenizer.load_tokenizer` reads.

    captions: strings, in any order: it does not change the files. max_length: the most tokens of a caption, start and
    end included. Fewer tokens than asked for are made when every word already is one. Returns what the text tower's
    config needs: vocab_size, bos_token_id, eos_token_id, pad_token_id. ValueError for sizes out of range and for
    captions that are not strings or hold no word.
    """
    if max_length < SHORTEST:
        raise ValueError(f"max_length is {max_length}; choose {SHORTEST} tokens or more: start, one token, end")
    if not SMALLEST_VOCABULARY <= vocab_size <= LARGEST_VOCABULARY:
        raise ValueError(
            f"vocab_size is {vocab_size}; choose {SMALLEST_VOCABULARY} (every byte, start and end) to "
            f"{LARGEST_VOCABULARY} (CLIP's own)"
        )
    words = count_words(captions)
    if not words:
        raise ValueError("there is no word in the captions to learn a vocabulary from; give captions with text")
    return write_tokenizer_files(folder, learn_merges(words, vocab_size), max_length)


def count_words(captions) -> Counter:
    """How often each word occurs, spelled in byte letters.

    PaddleNLP's tokenizer cleans and splits the captions here, with a vocabulary of bytes only: the words are by
    construction those it will look up later.
    """
    captions = Counter(_strings(captions))
    with TemporaryDirectory() as folder:
        write_tokenizer_files(folder, (), SHORTEST)
        byte_level = load_tokenizer(folder)
    counts = Counter()
    for caption, times in captions.items():
        letters = ""
        for token in byte_level.tokenize(caption):
            if token in (START, END):  # spelled out in a caption, they are those tokens and no word
                continue
            letters += token.removesuffix(WORD_END)
            if token.endswith(WORD_END):
                counts[letters] += times
                letters = ""
    return counts


def learn_merges(words: Counter, vocab_size: int) -> list:
    """The pairs of tokens to merge, the most frequent pair first, until the vocabulary is full or words are whole."""
    from tokenizers import Tokenizer, models, trainers

    letters = byte_letters()
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,  # start and end are added when the files are written
        # Ties between pairs are broken by their ids. Tokens given here have theirs in this order, whereas the trainer
        # numbers those it meets in words in a new order each time
        special_tokens=[*letters, *(letter + WORD_END for letter in letters)],
        end_of_word_suffix=WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(words.elements(), trainer)
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _strings(captions):
    if isinstance(captions, str):
        raise ValueError(f"captions is one string, {captions!r:.200}; give a list of them")
    for index, caption in enumerate(captions):
        if not isinstance(caption, str):
            raise ValueError(f"caption {index} is {caption!r:.200}, not a string")
        yield caption
