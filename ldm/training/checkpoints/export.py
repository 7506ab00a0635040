"""A checkpoint's networks written as files that inference and training load: the prior, a LoRA, a whole release."""

from pathlib import Path

from ldm.adapters.layouts import POSITIONAL
from ldm.clip.tower import write_tower
from ldm.networks.variants import VARIANTS, variant_config
from ldm.training.checkpoints.files import NETWORKS_FILE, TOWERS, part_of, read_state, saved_networks
from ldm.training.task import NetworkEntry
from ldm.training.tasks.adapter import KIND, merged_prior, write_adapter
from ldm.weights.convert import write_state
from ldm.weights.detect import version_of_shapes
from ldm.weights.plan import check_same_shapes, errors_name, network_shapes
from ldm.weights.release import SINGLE_SIZE, build_unfilled, file_name

TOKENS_FILE = "learned_tokens.safetensors"  # beside the networks of an exported release
KINDS = {*VARIANTS, *SINGLE_SIZE, *TOWERS, KIND}
PRIOR = "unet"  # the attribute under which ModelC keeps its network


def extract_unet(checkpoint, target, dtype: str = "float32", ema: bool = False, base=None) -> Path:
    """Write the prior of a Trainer's checkpoint (folder or file) to `target`, a safetensors file. Returns the source.

    Of a LoRA's checkpoint it is the prior that was trained on, `base` where that has moved, with the LoRA merged.
    ema: the averaged weights instead of the last ones. The state is checked against the network it claims to be:
    WeightsMismatch names every missing, unexpected and misshapen key.
    """
    state_file, state = read_state(checkpoint, ema)
    networks = _released_kinds(state_file)
    if KIND in networks and PRIOR not in networks:
        entry, state = merged_prior(networks[KIND], part_of(state, KIND, state_file), state_file, base)
    else:
        state = part_of(state, PRIOR, state_file)
        entry = networks.get(PRIOR) or _released_prior(state_file, state)
    write_network(target, entry, state, dtype, str(state_file))
    return state_file


def extract_lora(checkpoint, target, dtype: str = "float32", ema: bool = False, layout: str = POSITIONAL) -> Path:
    """Write the LoRA and the learned tokens of a Trainer's checkpoint to `target`, in either layout. Returns the source."""
    state_file, state = read_state(checkpoint, ema)
    networks = _released_kinds(state_file)
    if KIND not in networks:
        raise ValueError(f"{state_file.parent} is of a run without LoRA or learned tokens: leave --lora out.")
    write_adapter(target, networks[KIND], part_of(state, KIND, state_file), state_file, layout, dtype)
    return state_file


def export_networks(checkpoint, release, version=None, dtype: str = "float16", ema: bool = False) -> list[Path]:
    """Write every network of a checkpoint into the folder `release` under the official names and in their layout.

    version: which of the release's names a Stage B or C gets ("1B", "700M", ...; needed for those). Returns the files.
    """
    state_file, state = read_state(checkpoint, ema)
    networks = _released_kinds(state_file)
    if not networks:
        raise ValueError(f"{state_file.with_name(NETWORKS_FILE)} is missing: which networks are these weights of?")
    written = []
    for name, entry in networks.items():
        part = part_of(state, name, state_file)
        if entry.kind == KIND:
            written += _export_adapter(Path(release), entry, part, version, dtype, state_file)
            continue
        if entry.kind in TOWERS:
            target = Path(release) / entry.kind
            with errors_name(state_file):
                write_tower(target, TOWERS[entry.kind], entry.config, part, dtype)
        else:
            target = Path(release) / file_name(entry.kind, version)
            write_network(target, entry, part, dtype, str(state_file), to_release=True)
        written.append(target)
    return written


def _released_kinds(state_file: Path) -> dict:
    """A checkpoint's networks; ValueError for one that a release has no file for, as those of a task of one's own."""
    networks = saved_networks(state_file)
    for name, entry in networks.items():
        if entry.kind not in KINDS:
            raise ValueError(
                f"{state_file.with_name(NETWORKS_FILE)}: {name[:80]!r} is a {entry.kind[:80]!r}, for which a release has no "
                "file: take another checkpoint, or read this one's state with paddle.load."
            )
    return networks


def _export_adapter(release: Path, entry: NetworkEntry, state: dict, version, dtype: str, state_file: Path) -> list:
    """The prior with its LoRA merged, and the learned tokens, for which a release has no place, in a file beside it."""
    written = []
    if entry.config["filters"]:
        target = release / file_name("stage_c", version)
        write_network(target, *merged_prior(entry, state, state_file), dtype, str(state_file), to_release=True)
        written.append(target)
    if entry.config["tokens"]:
        tokens = {key: value for key, value in state.items() if not key.startswith("weights.")}
        alone = NetworkEntry(entry.kind, {**entry.config, "filters": []}, entry.notes)
        write_adapter(release / TOKENS_FILE, alone, tokens, state_file, dtype=dtype)
        written.append(release / TOKENS_FILE)
    return written


def write_network(target, entry: NetworkEntry, state: dict, dtype: str, source: str, to_release: bool = False):
    """Check a network's state against its constructor arguments and write it, Paddle's layout or the official one."""
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    with errors_name(source):
        check_same_shapes(shapes, network_shapes(build_unfilled(entry.kind, entry.config)), source)
        write_state(state, target, entry.kind, dtype, entry.config, entry.notes, to_release=to_release)


def _released_prior(state_file: Path, state: dict) -> NetworkEntry:
    """A prior of a released size needs no record of its arguments: its shapes tell them."""
    version = version_of_shapes({key: value.shape for key, value in state.items()}, "stage_c", paddle_layout=True)
    if version is None:
        missing = state_file.with_name(NETWORKS_FILE)
        raise ValueError(
            f"{state_file} is no released size, and {missing} is missing: extract from the checkpoint's folder."
        )
    return NetworkEntry("stage_c", variant_config("stage_c", version))
