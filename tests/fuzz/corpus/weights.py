"""Findings in weights files."""

import json
from functools import partial

import numpy as np

from fuzz import json_damage, safetensors_damage
from fuzz.corpus.finding import of_file


def with_notes(change, content):
    header, data = safetensors_damage.parse(content)
    change(header["__metadata__"])
    return safetensors_damage.build(header, data)


def config(**changed):
    def change(notes):
        notes["config"] = json.dumps({**json.loads(notes["config"]), **changed})

    return change


def note(key, text):
    return lambda notes: notes.update({key: text})


for _what, _change in {
    "unknown key": config(unknown=1),
    "dunder": config(__class__="x"),
    "text for a list": config(c_hidden="ab"),
    "object for a number": config(c_cond={}),
    "a fraction for a size": config(c_cond=16.5),
    "huge": config(c_hidden=[10**9, 10**9]),
    "10^23": config(c_cond=10**23),
    "negative": config(c_cond=-1),
    "nested": note("config", json_damage.nested(100_000)),
    "digits": note("config", '{"a": ' + "9" * 10_000 + "}"),
    "no object": note("config", "[1]"),
    "output_size 99999999": note("output_size", "99999999"),
    "output_size of letters": note("output_size", "٣"),
}.items():
    of_file(f"metadata: {_what}", "metadata", "release/stage_c_lite.safetensors", partial(with_notes, _change))


def with_values(value, content):
    header, data = safetensors_damage.parse(content)
    key = next(
        k for k, entry in header.items() if k != "__metadata__" and entry["dtype"] == "F32" and len(entry["shape"]) > 1
    )
    start = header[key]["data_offsets"][0]
    data = data[:start] + np.float32(value).tobytes() + data[start + 4 :]
    return safetensors_damage.build_like(content, data)


def as_integers(content):
    header, data = safetensors_damage.parse(content)
    for key, entry in header.items():
        if key != "__metadata__" and entry["dtype"] == "F32":
            entry["dtype"] = "I32"
    return safetensors_damage.build(header, data)


for _name in ("stage_a", "stage_b_lite", "stage_c_lite"):
    _path = f"release/{_name}.safetensors"
    for _value in ("nan", "inf"):
        of_file(f"{_value} in {_name}", "safetensors", _path, partial(with_values, _value))
    of_file(f"integers in {_name}", "safetensors", _path, as_integers)
    of_file(f"{_name} cut off", "safetensors", _path, lambda content: content[:-100])
of_file("NaN in the text tower", "CLIP folders", "release/text_encoder/model.safetensors", partial(with_values, "nan"))
of_file(
    "NaN in the image tower", "CLIP folders", "release/image_encoder/model.safetensors", partial(with_values, "nan")
)
of_file("a LoRA of another prior", "lora metadata", "lora/named.safetensors",
        partial(with_notes, note("base_fingerprint", "0" * 16)))  # fmt: skip
of_file("merges.txt emptied", "tokenizer", "release/tokenizer/merges.txt", lambda _: b"")
of_file(
    "merges.txt is its first line", "tokenizer", "release/tokenizer/merges.txt", lambda content: content.split(b"\n")[0]
)
of_file("merges.txt of bytes", "tokenizer", "release/tokenizer/merges.txt", lambda content: content + b"\xff\xfe a\n")
of_file("vocab.json cut off", "tokenizer", "release/tokenizer/vocab.json", lambda content: content[:-9])
of_file(
    "vocab.json nested", "tokenizer", "release/tokenizer/vocab.json", lambda _: json_damage.nested(100_000).encode()
)
of_file("config.json nested", "CLIP folders", "release/text_encoder/config.json",
        lambda _: json_damage.nested(100_000).encode())  # fmt: skip
