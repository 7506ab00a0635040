"""A tokenizer learned from captions: byte-level BPE (Sennrich et al., https://arxiv.org/abs/1508.07909) as CLIP has it.

Every byte has a token, so any text in any language has ids; words that are frequent in the captions become one token.
"""

import json
from collections import Counter
from tempfile import TemporaryDirectory

from ldm.clip.folder import load_tokenizer
from ldm.clip.format import END, SMALLEST_VOCABULARY, START, WORD_END, byte_letters, write_tokenizer_files

LARGEST_VOCABULARY = 49408  # PaddleNLP's CLIPTokenizer reads no more merges than CLIP's own vocabulary has
SHORTEST = 3  # start, one token, end


def write_tokenizer(folder, captions, max_length: int, vocab_size: int) -> dict:
    """Learn a vocabulary of at most `vocab_size` tokens and write the folder that `ldm.clip.folder.load_tokenizer` reads.

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
