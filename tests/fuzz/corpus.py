"""Every past finding as a small generator: what was damaged, and by which kind it is read and judged. `make test` replays it."""

import io
import json
import os
import pickle
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from fuzz import image_damage, json_damage, pickle_damage, safetensors_damage
from fuzz.case import Input
from fuzz.kinds.checkpoints import DRY, LAST, MARKER, NAMED, checkpoint, relisted

FINDINGS = {}


@dataclass(frozen=True)
class Finding:
    """kind: a name in KINDS; damage(folder) -> Input."""

    kind: str
    damage: object


def of_file(name, kind, path, change, must_refuse=True, flags=()):
    """A finding that is a file: change(content) -> content."""

    def damage(folder):
        file = folder / path
        before = file.read_bytes() if file.is_file() else b""
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(after := change(before))
        return Input(folder, name, file, before, after, flags, must_refuse)

    FINDINGS[name] = Finding(kind, damage)


def of_flags(kind, *flags):
    FINDINGS[f"{kind}: {' '.join(flags)}"[:100]] = Finding(
        f"flags, {kind}", lambda folder: Input(folder, " ".join(flags), flags=flags, must_refuse=True)
    )


RUN = "run/checkpoint-2"

# Pickles: each name that some version of the trainer reads back, each way to get at it ---------------------------------


def pickle_in_checkpoint(name, way, listed, number):
    def damage(folder):
        path = checkpoint(folder) / name
        before = path.read_bytes() if path.is_file() else b""
        content = [*pickle_damage.opcodes(folder / MARKER), pickle.dumps(pickle_damage.calls(folder / MARKER)[0])][
            number
        ]
        path.write_bytes(content)
        if listed is None:
            (checkpoint(folder) / "complete.json").unlink()
        elif listed:
            relisted(checkpoint(folder))
        return Input(folder, "a pickle that runs code", path, before, content, (way,))

    kind = "pickles, extraction" if way == "extraction" else "pickles, resume"
    FINDINGS[f"pickle {number} as {name}, {way}, {listed}"] = Finding(kind, damage)


for _name in ("model_state.pdparams", "optimizer.pdopt", "scheduler.pdparams", "rng_state.pth"):
    for _way, _listed in ((NAMED, True), (DRY, True), (LAST, None), ("extraction", True)):
        pickle_in_checkpoint(_name, _way, _listed, -1)
for _number in range(4):
    pickle_in_checkpoint("rng_state.pth", NAMED, True, _number)

# Checkpoints ------------------------------------------------------------------------------------------------------------

for _name, _text in (("complete.json", "[]"), ("complete.json", "{}"), ("networks.json", "[1]"), ("networks.json", "{}"),
                     ("trainer_state.json", '{"global_step": "many"}'), ("trainer_state.json", '{"global_step": 1e300}'),
                     ("trainer_state.json", "[]"), ("adaptive_weight.json", '{"losses": NaN}')):  # fmt: skip
    for _way in (NAMED, DRY):
        of_file(
            f"{_name} = {_text}, {_way}",
            "resume",
            f"{RUN}/{_name}",
            lambda _, text=_text: text.encode(),
            False,
            (_way,),
        )


# Weights files ----------------------------------------------------------------------------------------------------------


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

# Datasets ---------------------------------------------------------------------------------------------------------------


def tiff(dtype, _):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.linspace(0, 3, 1600).reshape(40, 40).astype(dtype)).save(file, format="TIFF")
    return file.getvalue()


def doubled(what, content):
    """A tar with a file, or a whole sample, twice."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar, tarfile.open(fileobj=out, mode="w") as other:
        members = [(member, tar.extractfile(member).read()) for member in tar]
        extra = [entry for entry in members if entry[0].name.startswith("0.")]
        for member, data in members + extra if what == "sample" else members[:1] + members:
            other.addfile(member, io.BytesIO(data))
    return out.getvalue()


def wrong_sum(content):
    """The second sample's header with another sum: everything from there on is not read by a lenient reader."""
    start = [place for place in range(0, len(content), 512) if content[place : place + 100].startswith(b"1.")][0]
    return content[: start + 148] + b"000001\0 " + content[start + 156 :]


def flipped_pixels(content):
    """A PNG one of whose compressed pixels is flipped; the sum of its chunk says so."""
    place = content.index(b"IDAT") + 40
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


of_file("a TIFF of float named .png", "images", "pictures/0.png", partial(tiff, np.float32))
of_file("a TIFF of integers named .png", "images", "pictures/0.png", partial(tiff, np.int32))
of_file("a PNG of 50,000 pixels a side", "images", "pictures/0.png", lambda _: image_damage.huge().content)
of_file("a PNG with another byte among its pixels", "images", "pictures/0.png", flipped_pixels)
of_file("a caption of Latin-1", "captions", "pictures/0.txt", lambda _: b"caf\xe9")
of_file("a caption of Latin-1, inference", "caption files", "pictures/0.txt", lambda _: b"caf\xe9")
of_file(
    "CSV with carriage returns alone", "CSV", "table_csv/metadata.csv", lambda content: content.replace(b"\n", b"\r")
)
of_file("CSV with a field of a million letters", "CSV", "table_csv/metadata.csv",
        lambda content: content + b'x.png,"' + b"a" * 10**6 + b'",1\n')  # fmt: skip
of_file("JSON lines, nested", "JSONL", "table_jsonl/metadata.jsonl",
        lambda content: content + json_damage.nested(100_000).encode() + b"\n")  # fmt: skip
of_file("a sidecar, nested", "sidecars", "pictures/0.json", lambda _: json_damage.nested(100_000).encode())
of_file("a sample twice in a tar", "tars", "tars/shard.tar", partial(doubled, "sample"))
of_file("a file twice in a tar", "tars", "tars/shard.tar", partial(doubled, "file"))
of_file("a header of a tar with a wrong sum", "tars", "tars/shard.tar", wrong_sum)


def other_sizes(folder):
    """.image_sizes.npz whose two arrays are of different lengths."""
    from fuzz.kinds.datasets import _with_buckets
    from ldm.data.kept_arrays import write_arrays

    _with_buckets(folder)
    path = folder / "pictures" / ".image_sizes.npz"
    before = path.read_bytes()
    with np.load(path) as file:
        arrays = {"keys": file["keys"][:-3], "sizes": file["sizes"]}
    write_arrays(path, arrays)
    return Input(folder, "arrays of other lengths", path, before, path.read_bytes(), must_refuse=True)


def deep_folders(folder):
    """1,200 folders in each other."""
    here = os.open(folder / "pictures", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    return Input(folder, "1,200 folders in each other", folder / "pictures", must_refuse=True)


FINDINGS["mismatched .image_sizes.npz"] = Finding("kept indices", other_sizes)
FINDINGS["1,200 nested folders"] = Finding("images", deep_folders)

# Caches -----------------------------------------------------------------------------------------------------------------


def flipped_bits(pattern, count, folder):
    """Bits of the largest file that matches."""
    path = max(Path(folder).rglob(pattern), key=lambda path: path.stat().st_size)
    before = path.read_bytes()
    content = bytearray(before)
    for place in np.random.default_rng(0).integers(len(content) // 2, len(content), count):
        content[place] ^= 4
    path.write_bytes(content)
    return Input(folder, f"{count} bits of {path.name}", path, before, bytes(content), must_refuse=True)


for _pattern, _kind in (("step.pdiparams", "compile cache"), ("step.json", "compile cache"),
                        ("rows_*.safetensors", "feature cache"), ("shared.safetensors", "feature cache")):  # fmt: skip
    for _count in (1, 1000):
        FINDINGS[f"{_count} flipped bits, {_pattern}"] = Finding(_kind, partial(flipped_bits, _pattern, _count))

# Flags ------------------------------------------------------------------------------------------------------------------

for _flags in (
    "--learning_rate nan", "--adam_epsilon 0", "--lr_scheduler_type polynomial --power nan", "--tensor_parallel_degree 2",
    "--pipeline_parallel_degree 2", "--device tpu", "--ckpt_quant_stage O1", "--sharding stage1", "--offload_optim True",
    "--max_grad_norm -1", "--max_grad_norm nan", "--max_steps 0", "--num_train_epochs 0", "--num_train_epochs -2",
    "--num_train_epochs inf", "--save_steps 0", "--seed -1", f"--seed {'7' * 23}", "--local_rank 5", "--to_static True",
    "--resolution 3200000", "--dataset_path {0..999999999}.tar",
):  # fmt: skip
    of_flags("trainer", *_flags.split())
for _flags in ("--cfg nan", "--cfg inf", "--decoder_cfg nan", "--steps 0", "--seed -1", f"--seed {'7' * 23}", "--height -256",
               "--height 3200000", "--batch_size 1000000", "--steps 100000000", "--prior_weights release",
               "--lora_scale nan"):  # fmt: skip
    of_flags("inference", *_flags.split())
of_flags("convert_lora", "--scale", "nan")
of_flags("cache_features", "--encoder_scale", "nan")
of_flags("inference", "--lora", "")
of_flags("inference", "--prior_weights", "\n")
of_flags("cache_features", "--preservation_path", "nowhere")

# What the harness itself has found ----------------------------------------------------------------------------------------


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
