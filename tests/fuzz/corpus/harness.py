"""What the harness itself has found."""

import json
from functools import partial

import numpy as np

from fuzz import safetensors_damage
from fuzz.case import Input
from fuzz.corpus.finding import FINDINGS, Finding, of_file

RUN = "run/checkpoint-2"


def doubled_pixels(content):
    """A PNG with bytes among its pixels twice: what follows is shifted out of the picture, and its end is never read."""
    place = content.index(b"IDAT") + 200
    return content[:place] + content[place - 16 : place] * 40 + content[place:]


def with_setting(key, value, content):
    return json.dumps({**json.loads(content), key: value}).encode()


def huge_values(content):
    header, data = safetensors_damage.parse(content)
    places = [entry["data_offsets"] for key, entry in header.items() if "lora_" in key]
    data = bytearray(data)
    for start, end in places:
        data[start:end] = np.full((end - start) // 4, 1e15, np.float32).tobytes()
    return safetensors_damage.build_like(content, bytes(data))


def other_places(folder):
    """A tar's kept index whose images begin where none does."""
    from fuzz.kinds.datasets import _with_buckets
    from ldm.data.kept_arrays import write_arrays

    _with_buckets(folder)
    path = folder / "tars" / ".shard.tar.index.npz"
    before = path.read_bytes()
    with np.load(path) as file:
        arrays = {**file, "places": np.full_like(file["places"], 7)}
    del arrays["checksum"]
    write_arrays(path, arrays)  # the checksum is right
    return Input(folder, "places where no file begins", path, before, path.read_bytes(), must_refuse=True)


of_file("a PNG with bytes among its pixels twice", "images", "pictures/0.png", doubled_pixels)
of_file("tokenizer_class = {}", "tokenizer", "release/tokenizer/tokenizer_config.json",
        partial(with_setting, "tokenizer_class", {}))  # fmt: skip
of_file("a LoRA too large to compute with", "lora", "lora/positional.safetensors", huge_values)
of_file("an average that is not what was written", "extraction", f"{RUN}/ema.safetensors",
        lambda content: content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])  # fmt: skip
FINDINGS["places of a tar's index where no file begins"] = Finding("kept indices", other_places)
