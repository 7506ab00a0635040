"""The files of a CLIP folder in Hugging Face's format: which hold weights, and those written here beside them."""

import json
from pathlib import Path

from ldm.common.atomic import atomic_path
from ldm.common.json_files import read_json

WEIGHT_FILES = (  # the first that exists is read
    "model.safetensors",
    "model.safetensors.index.json",
    "model.bf16.safetensors",
    "model.fp16.safetensors",
)
PICKLES = ("model_state.pdparams", "pytorch_model.bin")
START, END = "<|startoftext|>", "<|endoftext|>"
WORD_END = "</w>"
NUM_BYTES = 256
SMALLEST_VOCABULARY = 2 * NUM_BYTES + 2  # each byte inside a word and at its end, start, end
LAYER_NORM_EPS = 1e-05  # of every CLIP; PaddleNLP's towers know no other


def remedy(name):
    return f"download {name} of the Stable Cascade release or point WEIGHTS_PATH at a folder that has it"


def existing_folder(folder, name):
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: {remedy(name)}")
    return folder


def existing_file(path):
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {remedy(f'{path.parent.name}/{path.name}')}")
    return path


def read_folder_json(path):
    return read_json(path, remedy=remedy(f"{path.parent.name}/{path.name}"))


def weight_files(folder):
    """The one file of a folder's weights, or its shards."""
    name = next((name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if name is None:
        pickles = [pickle for pickle in PICKLES if (folder / pickle).is_file()]
        converted = (
            f", only {' and '.join(pickles)}, which could run code when read: load it with the library that wrote it "
            "and save_pretrained(folder, safe_serialization=True), or"
            if pickles
            else ":"
        )
        raise FileNotFoundError(
            f"{folder} has no {WEIGHT_FILES[0]}{converted} {remedy(f'{folder.name}/{WEIGHT_FILES[0]}')}"
        )
    path = folder / name
    if path.suffix != ".json":
        return [path]
    parts = read_folder_json(path).get("weight_map")
    if not isinstance(parts, dict) or not parts:
        raise ValueError(f"{path} has no weight_map: {remedy(f'{folder.name}/{name}')}")
    wrong = [part for part in parts.values() if not isinstance(part, str) or Path(part).name != part or not part]
    if wrong:
        raise ValueError(f"{path}: the weight_map's {wrong[0]!r:.100} is no file of the folder: {remedy(folder.name)}")
    return [existing_file(folder / part) for part in sorted(set(parts.values()))]


def write_config(folder, tower: str, fields: dict, dtype: str = "float32"):
    """config.json of a tower. `tower`: Hugging Face's name, "text" or "vision"; `fields`: sizes and token ids."""
    fixed = {
        "architectures": [f"CLIP{tower.capitalize()}ModelWithProjection"],
        "model_type": f"clip_{tower}_model",
        "layer_norm_eps": LAYER_NORM_EPS,
        "dtype": dtype,
    }
    _write_json(Path(folder) / "config.json", fields | fixed)


def write_tokenizer_files(folder, merges, max_length: int) -> dict:
    """Write a byte-level BPE tokenizer; `merges`: pairs of tokens, the first learned first.

    The ids are in CLIP's order: bytes inside a word, bytes at its end, merges, start, end. Returns the fields of the
    text tower's config.json that follow: vocab_size and the ids of the special tokens (the end token also pads).
    """
    folder = Path(folder)
    letters = byte_letters()
    # Two merges may make the same token, such as "ab" + "c" and "a" + "bc"
    learned = [*letters, *(letter + WORD_END for letter in letters), *map("".join, merges), START, END]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(learned))}
    special = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    config = {
        **special,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": max_length,
        "tokenizer_class": "CLIPTokenizer",
    }
    _write_json(folder / "vocab.json", vocabulary)
    _write_text(folder / "merges.txt", "".join(["#version: 0.2\n", *(f"{a} {b}\n" for a, b in merges)]))
    _write_json(folder / "tokenizer_config.json", config)
    _write_json(folder / "special_tokens_map.json", special)
    return {
        "vocab_size": len(vocabulary),
        "bos_token_id": vocabulary[START],
        "eos_token_id": vocabulary[END],
        "pad_token_id": vocabulary[END],
    }


def byte_letters() -> list:
    """A visible letter for each byte, in CLIP's order: printable Latin-1 is itself, the rest follow from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    return [chr(byte) for byte in printable] + [chr(0x100 + i) for i in range(NUM_BYTES - len(printable))]


def _write_json(path, content):
    _write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _write_text(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
