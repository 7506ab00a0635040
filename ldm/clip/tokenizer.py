"""The files of a CLIP tokenizer, checked: PaddleNLP's reader names none, and takes a damaged one for a smaller one."""

from pathlib import Path

from ldm.clip.format import END, START, WORD_END, byte_letters
from ldm.common.json_files import read_json

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
