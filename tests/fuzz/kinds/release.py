"""Files of a release, read by inference.py: networks, their metadata, LoRAs, CLIP folders, the tokenizer."""

import json
from functools import partial

from fuzz import bytes_damage, json_damage, safetensors_damage, text_damage
from fuzz.case import Input, Kind
from fuzz.place import damaged_file
from fuzz.programs import BLACK, cache_features, file_contents, inference

NETWORKS = ("stage_a", "stage_b_lite", "stage_c_lite")


def networks(folder):
    return [folder / "release" / f"{name}.safetensors" for name in NETWORKS]


def loras(folder):
    return sorted((folder / "lora").iterdir())


def towers(folder):
    return [folder / "release" / tower / name for tower in ("text_encoder", "image_encoder")
            for name in ("config.json", "config.json", "model.safetensors")]  # fmt: skip


def tokenizer(folder):
    return sorted((folder / "release" / "tokenizer").iterdir())


def by_suffix(rng, path, content):
    """Damage that suits a file's format."""
    if path.suffix == ".json":
        return json_damage.damaged(rng, content)
    if path.suffix == ".safetensors":
        return safetensors_damage.damaged(rng, content)
    if path.suffix == ".txt":
        return text_damage.damaged(rng, content)
    return bytes_damage.damaged(rng, content)


def damaged_by_suffix(choose, rng, folder) -> Input:
    path = rng.choice(choose(folder))
    return damaged_file(lambda _: [path], lambda rng, content: by_suffix(rng, path, content), rng, folder)


# Excuses --------------------------------------------------------------------------------------------------------------


def excuse_tensors(input, before, outcome):
    """Values and valid notes may be others. A black picture is one of NaN, unless weights that are finite are 0."""
    excuse = safetensors_damage.unknowable(input.before, input.after)
    black = BLACK in outcome.result.values()
    return None if excuse and black and safetensors_damage.non_finite(input.after) else excuse


def excuse_towers(input, before, outcome):
    if input.file.suffix == ".safetensors":
        return safetensors_damage.unknowable(input.before, input.after)
    if plausible_json(input):
        return "another valid configuration of a CLIP tower"
    return None


def plausible_json(input) -> bool:
    try:
        return json_damage.plausible_change(json.loads(input.before), json.loads(input.after))
    except (ValueError, RecursionError):
        return False


def excuse_tokenizer(input, before, outcome):
    """Another vocabulary or other merges, as long as each merge is of two symbols and most of them are there."""
    if input.file.suffix == ".json":
        return "another valid tokenizer" if plausible_json(input) else None
    try:
        lines = input.after.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    merges = [line for line in lines[1:] if line.strip()]
    enough = len(merges) > 0.5 * len(input.before.splitlines())
    return "another valid tokenizer" if enough and all(len(line.split()) == 2 for line in merges) else None


# Reading --------------------------------------------------------------------------------------------------------------


def read(input):
    return inference(input.folder)


def read_with_lora(input):
    return inference(input.folder, "--lora", input.file or input.folder / "lora" / "named.safetensors")


def read_towers(input):
    """The text tower by inference.py; both, and the image tower, which only training needs, by cache_features.py."""
    pictures = inference(input.folder)
    cache_features(input.folder)
    rows = [file_contents(path) for path in sorted((input.folder / "features").rglob("*.safetensors"))]
    return {**pictures, "features": rows}


def names_of_folder(input):
    """A CLIP folder's weights and tokenizer are named by their folder too."""
    return (input.file.name, f"{input.file.parent.name} ", f"{input.file.parent.name}/") if input.file else ()


KINDS = (
    Kind("safetensors", 10, ("release",), partial(damaged_file, networks, safetensors_damage.damaged), read, excuse_tensors),
    Kind("metadata", 10, ("release",), partial(damaged_file, networks, safetensors_damage.damaged_metadata), read,
         excuse_tensors),
    Kind("lora", 5, ("release", "lora"), partial(damaged_file, loras, safetensors_damage.damaged), read_with_lora,
         excuse_tensors),
    Kind("lora metadata", 4, ("release", "lora"), partial(damaged_file, loras, safetensors_damage.damaged_metadata),
         read_with_lora, excuse_tensors),
    Kind("CLIP folders", 8, ("release", "few"), partial(damaged_by_suffix, towers), read_towers, excuse_towers,
         names=names_of_folder),
    Kind("tokenizer", 6, ("release",), partial(damaged_by_suffix, tokenizer), read, excuse_tokenizer,
         names=names_of_folder),
)  # fmt: skip
