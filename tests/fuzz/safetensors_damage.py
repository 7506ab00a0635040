"""Damage to safetensors files: header, metadata, values."""

import json
import struct

import numpy as np

from fuzz import bytes_damage, json_damage
from fuzz.case import Damage

SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "BOOL": 1}
UNKNOWN = ("F8_E4M3", "Q4", "", "f32", "FLOAT32", 32, None)


def parse(data: bytes) -> tuple[dict, bytes]:
    """(header, data) of a file that is one; ValueError otherwise."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
    except (struct.error, RecursionError, OverflowError, MemoryError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(header, dict):
        raise ValueError("no object")
    return header, data[8 + length :]


def build(header, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def damaged(rng, content: bytes) -> Damage:
    """The header's JSON, an entry, the length before it, the values, or bytes anywhere."""
    return rng.choice((in_header, in_entry, in_entry, in_length, in_values, in_values, in_bytes, in_bytes))(
        rng, content
    )


def damaged_metadata(rng, content: bytes) -> Damage:
    """Metadata: keys dropped and added, values of other types, and what is in 'config' and other JSON texts."""
    header, data = parse(content)
    notes = dict(header.get("__metadata__", {}))
    structured = [key for key, text in notes.items() if text[:1] in ("{", "[")]
    choice = rng.random()
    if structured and choice < 0.6:
        key = rng.choice(structured)
        text, note = json_damage.damaged(rng, notes[key].encode())
        notes[key] = text.decode("utf-8", "replace")
        note = f"metadata {key}: {note}"
    elif choice < 0.8:
        key = rng.choice([*notes, "output_size", "config", "filters", "tokens", "format"])
        notes[key] = rng.choice(
            (*json_damage.TEXTS, "99999999", "-1", "1e9", "٣", "0", "7" * 30, json_damage.nested(10**5))
        )
        note = f"metadata {key}: another text"
    elif choice < 0.9 and notes:
        key = rng.choice(list(notes))
        del notes[key]
        note = f"metadata {key}: dropped"
    else:
        notes = rng.choice(
            ({"config": 1}, {"config": {}}, [], "x", None, {"": ""}, {str(i): "x" for i in range(20000)})
        )
        note = "metadata: of another type"
    header["__metadata__"] = notes
    return Damage(build(header, data), note)


def in_header(rng, content):
    header, data = parse(content)
    length = struct.unpack("<Q", content[:8])[0]
    text, note = json_damage.damaged(rng, content[8 : 8 + length])
    return Damage(build(text, data), f"header: {note}")


def in_entry(rng, content):
    """One tensor's type, shape, place or name."""
    header, data = parse(content)
    keys = [key for key in header if key != "__metadata__"]
    key = rng.choice(keys)
    entry = header[key]
    action = rng.choice((retype, reshape, replace_offsets, drop, rename, exchange, huge, integers))
    note = action(rng, header, key, entry, keys)
    return Damage(build(header, data), f"entry: {note}", must_refuse=action in (integers, drop, rename, huge))


def retype(rng, header, key, entry, keys):
    same_size = [name for name, size in SIZES.items() if size == SIZES[entry["dtype"]] and name != entry["dtype"]]
    entry["dtype"] = rng.choice((*same_size, *UNKNOWN, "F16", "F64", "U16"))
    return "type"


def integers(rng, header, key, entry, keys):
    """The same bytes declared as integers, everywhere or in one tensor."""
    for name in keys if rng.random() < 0.5 else [key]:
        header[name]["dtype"] = {"F32": "I32", "F64": "I64", "F16": "I16", "BF16": "I16"}.get(
            header[name]["dtype"], "U8"
        )
    return "integers"


def reshape(rng, header, key, entry, keys):
    shape = list(entry["shape"])
    entry["shape"] = rng.choice((shape[::-1], [*shape, 1], [1, *shape], shape[1:], [int(np.prod(shape))], [], [0],
                                 [-1, *shape[1:]], [2**62, 4], [2.5], ["a"], [10**30], None, [s + 1 for s in shape]))  # fmt: skip
    return "shape"


def replace_offsets(rng, header, key, entry, keys):
    start, end = entry["data_offsets"]
    entry["data_offsets"] = rng.choice(([end, start], [start + 4, end + 4], [0, end], [start, end + 4], [start], [-4, end],
                                        [start, 2**63], [start, 10**30], ["0", "4"], None, [0.0, 4.0]))  # fmt: skip
    return "place"


def drop(rng, header, key, entry, keys):
    del header[key]
    return "dropped"


def rename(rng, header, key, entry, keys):
    header[rng.choice((f"{key}x", f"module.{key}", "", key.upper(), key.replace(".", "/")))] = header.pop(key)
    return "renamed"


def exchange(rng, header, key, entry, keys):
    """The values of two tensors of one shape."""
    alike = [other for other in keys if other != key and header[other]["shape"] == entry["shape"]]
    if not alike:
        return retype(rng, header, key, entry, keys)
    other = header[rng.choice(alike)]
    entry["data_offsets"], other["data_offsets"] = other["data_offsets"], entry["data_offsets"]
    return "exchanged"


def huge(rng, header, key, entry, keys):
    """A claim that the data do not bear out."""
    entry["shape"] = [rng.choice((10**6, 10**9, 2**40)) for _ in range(rng.randint(1, 3))]
    return "huge"


def in_length(rng, content):
    """The header's length, the first eight bytes."""
    length = struct.unpack("<Q", content[:8])[0]
    other = rng.choice((0, 1, 2, 7, length - 1, length + 1, length + 8, len(content), 10**8, 2**32, 2**63, 2**64 - 1))
    return Damage(struct.pack("<Q", other) + content[8:], "length of the header", must_refuse=True)


def in_values(rng, content):
    """Some values of one tensor: bits flipped, or non-finite."""
    header, data = parse(content)
    keys = [key for key in header if key != "__metadata__" and header[key]["dtype"] == "F32" and header[key]["shape"]]
    if not keys:
        return in_bytes(rng, content)
    start, end = header[rng.choice(keys)]["data_offsets"]
    values = np.frombuffer(data[start:end], np.float32).copy()
    what = rng.choice(("nan", "inf", "zeros", "flip", "flip", "huge"))
    place = rng.randrange(len(values))
    if what == "flip":
        values.view(np.uint32)[place] ^= 1 << rng.randrange(32)
    elif what == "zeros":
        values[:] = 0
    else:
        values[place] = {"nan": np.nan, "inf": np.inf, "huge": 1e38}[what]
    return Damage(build_like(content, data[:start] + values.tobytes() + data[end:]), f"values: {what}")


def build_like(content: bytes, data: bytes) -> bytes:
    length = struct.unpack("<Q", content[:8])[0]
    return content[: 8 + length] + data


def in_bytes(rng, content):
    length = struct.unpack("<Q", content[:8])[0]
    if rng.random() < 0.6:
        return Damage(*bytes_damage.near(rng, content, 8 + length))
    return Damage(*bytes_damage.damaged(rng, content))


# What changed ---------------------------------------------------------------------------------------------------------


def non_finite(content: bytes) -> bool:
    """Whether a float32 value is NaN or infinite."""
    header, data = parse(content)
    for key, entry in header.items():
        if key != "__metadata__" and entry["dtype"] == "F32":
            start, end = entry["data_offsets"]
            if not np.isfinite(np.frombuffer(data[start:end], np.float32)).all():
                return True
    return False


def unknowable(before: bytes, after: bytes):
    """A name for a difference between two readable files that a reader cannot know to be damage, or None."""
    try:
        old, new = parse(before), parse(after)
    except ValueError:
        return None
    (header, data), (other, other_data) = old, new
    notes, other_notes = header.pop("__metadata__", {}), other.pop("__metadata__", {})
    if header == other and notes == other_notes and len(data) == len(other_data):
        return "values of tensors"
    if header == other and data == other_data:
        return _other_notes(notes, other_notes)
    described = lambda header: sorted((entry["dtype"], entry["shape"]) for entry in header.values())  # noqa: E731
    if header.keys() == other.keys() and described(header) == described(other):
        return "tensors of one shape exchanged"
    return None


def _other_notes(notes, other_notes):
    if not isinstance(other_notes, dict):
        return None
    for key in notes.keys() | other_notes.keys():
        old, new = notes.get(key), other_notes.get(key)
        if old == new or key not in ("config", "filters", "tokens"):
            continue
        if old is not None and new is not None:
            try:
                if not json_damage.plausible_change(json.loads(old), json.loads(new), extra_keys=False):
                    return None
            except (ValueError, RecursionError):
                return None
    return "another valid configuration in the metadata"
