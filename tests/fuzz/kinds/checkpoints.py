"""Checkpoints that are resumed and extracted: any of their files damaged, hostile pickles under any of their names."""

import json
import shutil
from dataclasses import replace

from fuzz import json_damage, pickle_damage, safetensors_damage
from fuzz.case import Input, Kind
from fuzz.kinds.release import by_suffix
from fuzz.place import damaged_file
from fuzz.programs import extract, tensors_in, train
from fuzz.templates import STEP

# What other versions of the trainer read back, beside what a checkpoint has now
PICKLES = ("model_state.pdparams", "optimizer.pdopt", "scheduler.pdparams", "rng_state.pth", "training_args.bin")
NAMED, LAST, DRY = "--resume_from_checkpoint", "the last of the output folder", "--dry_run"
MARKER = "executed"


def checkpoint(folder):
    return folder / "run" / f"checkpoint-{STEP}"


def files(folder):
    return sorted(path for path in checkpoint(folder).rglob("*") if path.is_file() and path.stat().st_size > 1)


def damaged(rng, folder) -> Input:
    """Any file, in its format; one time of two the manifest is made anew, as an attacker would."""
    path = rng.choice(files(folder))

    def damage(rng, content):
        if content[-1:] == b"." and path.suffix in (".pdparams", ".pdopt", ".pth", ".bin"):
            return pickle_damage.damaged(rng, content)
        return by_suffix(rng, path, content)

    return how(rng, listed(rng, damaged_file(lambda _: [path], damage, rng, folder)))


def hostile(rng, folder) -> Input:
    """A hostile pickle in place of a file, or beside them under the name of one that other versions read."""
    names = [*PICKLES, *(path.name for path in files(folder))]
    path = checkpoint(folder) / rng.choice(names)
    before = path.read_bytes() if path.is_file() else b""
    content, note = pickle_damage.hostile(rng, folder / MARKER, before)
    path.write_bytes(content)
    (folder / f"{MARKER}.py").write_text(pickle_damage.code_for(folder / MARKER))  # what runpy would run
    (folder / "model_state.pdparams").write_bytes(content)  # for extraction from a file without a folder
    input = Input(folder, f"{note} as {path.name}", path, before, content)
    return how(rng, listed(rng, input))


def listed(rng, input: Input) -> Input:
    """As it is, with a manifest that fits it again, or, rarely, without one."""
    choice, folder = rng.random(), checkpoint(input.folder)
    manifest = folder / "complete.json"
    if choice < 0.45 or input.file == manifest:
        return replace(input, note=f"{input.note}, as listed before")
    if choice < 0.55:
        manifest.unlink(missing_ok=True)
        return replace(input, note=f"{input.note}, not listed")
    return replace(input, note=f"{input.note}, {relisted(folder)}")


def relisted(folder) -> str:
    """List the files anew by the trainer's own means."""
    from ldm.training.checkpoints import staging

    staged = staging.stage(folder)
    shutil.copytree(folder, staged / folder.name)
    (staged / folder.name / staging.MANIFEST).unlink(missing_ok=True)
    try:
        staging.finish(folder)
    except (ValueError, OSError) as error:
        return f"refused to be listed: {error}"
    return "listed anew"


def how(rng, input: Input) -> Input:
    return replace(input, flags=(rng.choice((NAMED, NAMED, LAST, DRY)),))


def resume(input):
    """The trainer, one step further; the files that it ends with."""
    flags, way = ["--max_steps", STEP + 1, "--save_steps", 100], (input.flags or (LAST,))[0]
    if way == NAMED:
        flags += [NAMED, checkpoint(input.folder)]
    if way == DRY:
        train(input.folder, *flags, DRY, "True", output="run")
        return DRY
    return train(input.folder, *flags, output="run")


def extraction(input):
    """The last weights and the average, by the script; from the file alone where there is such a file."""
    found = {}
    for name, flags in (("last", ()), ("average", ("--save_ema",))):
        target = input.folder / "made" / f"{name}.safetensors"
        extract("--checkpoint_path", checkpoint(input.folder), "--model_file", target, *flags)
        found[name] = tensors_in(target)
    alone = input.folder / "model_state.pdparams"
    if alone.is_file():
        extract("--checkpoint_path", alone, "--model_file", input.folder / "made" / "alone.safetensors")
    return found


def excuse(input, before, outcome):
    """Values that an attacker has changed and listed are the weights of another run; nothing else is."""
    if outcome.result == DRY:
        return "tried by --dry_run"
    if "listed anew" not in input.note and "not listed" not in input.note:
        return None
    if input.file.suffix == ".safetensors":
        if safetensors_damage.non_finite(input.after):
            return None
        return safetensors_damage.unknowable(input.before, input.after)
    if input.file.suffix == ".json":
        return "another state of a run" if _plausible(input) else None
    return "values of arrays" if values_alone(input) else None


def _plausible(input) -> bool:
    try:
        return json_damage.plausible_change(json.loads(input.before), json.loads(input.after), extra_keys=False)
    except (ValueError, RecursionError):
        return False


def values_alone(input) -> bool:
    """Whether two pickles are of the same keys, shapes and types."""
    from ldm.weights.pickles import read_pdparams

    path = input.folder / "compared.pdparams"
    shapes = []
    for content in (input.before, input.after):
        path.write_bytes(content)
        try:
            shapes.append({key: (value.shape, value.dtype) for key, value in read_pdparams(path).items()})
        except ValueError:
            return False
    return shapes[0] == shapes[1]


def names(input):
    """The file, or the folder that is damaged with it."""
    return (input.file.name, f"checkpoint-{STEP}", "model_state.pdparams") if input.file else ()


def _kind(name, share, damage, read):
    return Kind(name, share, ("release", "few", "run"), damage, read, excuse, batch=10, names=names, aside="Skipping ")


KINDS = (
    _kind("resume", 8, damaged, resume),
    _kind("extraction", 7, damaged, extraction),
    _kind("pickles, resume", 6, hostile, resume),
    _kind("pickles, extraction", 6, hostile, extraction),
)
