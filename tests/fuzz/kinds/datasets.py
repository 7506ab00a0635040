"""What a dataset is made of: images, captions, metadata, tables, tars, and what is kept beside them."""

import hashlib
import io
import json
from functools import partial

from fuzz import bytes_damage, image_damage, json_damage, tar_damage, text_damage
from fuzz.case import Kind
from fuzz.place import damaged_file
from fuzz.programs import TRAINER, through_cli


def images(folder):
    return [path for path in sorted((folder / "pictures").iterdir()) if path.suffix not in (".txt", ".json")]


def captions(folder):
    return sorted((folder / "pictures").glob("*.txt"))


def sidecars(folder):
    return sorted((folder / "pictures").glob("*.json"))


def samples(path, **flags) -> dict:
    """{name: (caption, hash of the pixels that are trained on)}, read as the trainer of the prior reads them."""

    def read():
        from ldm.training.batches.data import open_dataset
        from ldm.training.tasks.prior import PriorDataArguments

        dataset = open_dataset(PriorDataArguments(dataset_path=str(path), resolution=64, **flags))
        found = {}
        for index in range(len(dataset)):
            item = dataset[index]
            found[dataset.source.name(index)] = item["caption"], hashlib.sha256(item["image"].tobytes()).hexdigest()
        return found

    return through_cli(TRAINER, read)


def read_pictures(input):
    return samples(input.folder / "pictures")


def read_filtered(input):
    return samples(input.folder / "pictures", data_filter="width >= 10 and score > 0 and 'a' in tags")


def read_tar(input):
    return samples(input.folder / "tars" / "shard.tar", index_dir=str(input.folder / "made"))


def read_table(name, input):
    return samples(input.folder / f"table_{name}")


def read_captions(input):
    """inference.py's --caption FILE.txt."""
    from ldm.data.captions import read_captions

    path = input.folder / "pictures" / "0.txt" if input.file is None else input.file
    return through_cli("inference.py", lambda: read_captions([str(path)]))


# Excuses --------------------------------------------------------------------------------------------------------------


def excuse_image(input, before, outcome):
    return image_damage.unknowable(input.before, input.after, input.note)


def excuse_caption(input, before, outcome):
    return "another caption" if readable(input.after) else None


def readable(content: bytes) -> bool:
    """Whether it is UTF-8 text."""
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def excuse_sidecar(input, before, outcome):
    """Other metadata may keep fewer images, but not change them."""
    kept = all(before.get(name) == sample for name, sample in outcome.result.items())
    try:
        valid = isinstance(json.loads(input.after), dict)
    except (ValueError, RecursionError):
        valid = False
    return "fewer samples pass the filter" if kept and valid else None


def excuse_table(input, before, outcome):
    """Rows may be missing, captions differ; an image under its name must be that image."""
    if not readable(input.after) or input.note == "text: returns_alone":
        return None
    after = outcome.result
    if all(name in before and before[name][1] == sample[1] for name, sample in after.items()):
        fewer, other = len(after) < len(before), any(before[name][0] != sample[0] for name, sample in after.items())
        return "another caption" if other else "fewer or reordered rows" if fewer else None
    return None


def excuse_tar(input, before, outcome):
    """A tar has a checksum of its headers alone."""
    if "header" in input.note and "sum right" not in input.note:
        return None
    return "contents of a tar"


# Tars -----------------------------------------------------------------------------------------------------------------


def tar(folder):
    return [folder / "tars" / "shard.tar"]


def indices(rng, folder):
    """Damage one of the files that are kept beside a dataset, made here as the trainer makes them."""
    _with_buckets(folder)
    kept = [folder / "pictures" / ".image_sizes.npz", folder / "tars" / ".shard.tar.index.npz"]
    path = rng.choice(kept)
    return damaged_file(lambda _: [path], _damaged_npz, rng, folder)


def _with_buckets(folder):
    for path in (folder / "pictures", folder / "tars" / "shard.tar"):
        samples(path, aspect_buckets=True, random_bucket=0.0)


def _damaged_npz(rng, content):
    import numpy as np

    if rng.random() < 0.4:
        return bytes_damage.damaged(rng, content)
    with np.load(io.BytesIO(content)) as file:
        arrays = dict(file)
    name = rng.choice(list(arrays))
    value = arrays[name]
    arrays[name] = rng.choice((
        value[:-1], value[:0], value.astype(np.float64), value.astype("S8"), value.reshape(-1), value[None],
        np.full_like(value, 7), -value.astype(np.int64), np.zeros(3), np.array(5), np.full(value.shape, 2**40),
    ))  # fmt: skip
    if rng.random() < 0.2:
        del arrays[name]
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue(), f"npz: {name}"


def read_kept(input):
    return {name: samples(path, aspect_buckets=True, random_bucket=0.0)
            for name, path in (("pairs", input.folder / "pictures"), ("tar", input.folder / "tars" / "shard.tar"))}  # fmt: skip


KINDS = (
    Kind("images", 14, ("pictures",), partial(damaged_file, images, image_damage.damaged), read_pictures, excuse_image),
    Kind("captions", 5, ("pictures",), partial(damaged_file, captions, text_damage.damaged), read_pictures, excuse_caption),
    Kind("caption files", 4, ("pictures",), partial(damaged_file, captions, text_damage.damaged), read_captions,
         excuse_caption),
    Kind("sidecars", 4, ("pictures",), partial(damaged_file, sidecars, json_damage.damaged), read_filtered, excuse_sidecar,
         names=lambda input: (f"/{input.file.stem}.",) if input.file else ()),
    Kind("JSONL", 6, ("table_jsonl",),
         partial(damaged_file, lambda folder: [folder / "table_jsonl" / "metadata.jsonl"], text_damage.damaged),
         partial(read_table, "jsonl"), excuse_table),
    Kind("CSV", 6, ("table_csv",),
         partial(damaged_file, lambda folder: [folder / "table_csv" / "metadata.csv"], text_damage.damaged),
         partial(read_table, "csv"), excuse_table),
    Kind("tars", 8, ("tars",), partial(damaged_file, tar, tar_damage.damaged), read_tar, excuse_tar),
    Kind("kept indices", 4, ("pictures", "tars"), indices, read_kept),
)  # fmt: skip
