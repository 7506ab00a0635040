"""Files of a release, read by inference.py: networks, their metadata, CLIP folders, the tokenizer."""

import json
from functools import partial

from fuzz import json_damage, safetensors_damage
from fuzz.case import Damage, Input, Kind
from fuzz.templates import BLACK, inference

NETWORKS = ("stage_a", "stage_b_lite", "stage_c_lite")
CONFIGURED = ("stage_a", "stage_b_lite", "stage_c_lite")


def damaged_file(choose, damage, rng, folder) -> Input:
    """Damage one of the files that `choose(folder)` lists, in place. damage(rng, content) -> Damage or (content, note)."""
    path = rng.choice(choose(folder))
    before = path.read_bytes()
    done = damage(rng, before)
    done = done if isinstance(done, Damage) else Damage(*done)
    path.write_bytes(done.content)
    return Input(folder, done.note, path, before, done.content, must_refuse=done.must_refuse)


def networks(folder):
    return [folder / "release" / f"{name}.safetensors" for name in NETWORKS]


def excuse_tensors(input, before, after):
    return None if BLACK in after.values() else safetensors_damage.unknowable(input.before, input.after)


def read(input):
    return inference(input.folder)


def _kind(name, share, choose, damage, excuse=excuse_tensors, **more):
    return Kind(name, share, ("release",), partial(damaged_file, choose, damage), read, excuse, **more)


KINDS = (
    _kind("safetensors", 10, networks, safetensors_damage.damaged),
    _kind("metadata", 10, networks, safetensors_damage.damaged_metadata),
)
