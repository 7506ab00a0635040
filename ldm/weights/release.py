"""A folder of weights in the release's format (official or converted): which file is what, and loading it."""

import math
import re
from pathlib import Path

import paddle

from ldm import config
from ldm.networks.efficientnet import EfficientNetEncoder
from ldm.networks.previewer import Previewer
from ldm.networks.stage_a import StageA
from ldm.networks.variants import VARIANTS, variant_config
from ldm.weights.arguments import check_arguments
from ldm.weights.detect import detect_network, detect_version, stored_config
from ldm.weights.loading import load_weights, opened
from ldm.weights.plan import check_dtype

FILES = {
    ("stage_c", "3.6B"): "stage_c",
    ("stage_c", "1B"): "stage_c_lite",
    ("stage_b", "3B"): "stage_b",
    ("stage_b", "700M"): "stage_b_lite",
    ("stage_a", None): "stage_a",
    ("effnet", None): "effnet_encoder",
    ("previewer", None): "previewer",
}
SINGLE_SIZE = {"stage_a": StageA, "effnet": EfficientNetEncoder, "previewer": Previewer}
OUTPUT_SIZE_KEY, RELEASED_OUTPUT_SIZE = "output_size", 1024  # in a prior's metadata: what it was trained to generate
SMALLEST_OUTPUT, LARGEST_OUTPUT = 32, 16384  # pixels that such a note may say
CONFIG = "the metadata's 'config'"
SUFFIXES = ("", "_bf16")  # the release ships float32 and bfloat16 files; the more precise one wins
SHOWN = 5  # files that are named
TRAINED = ("model_state.pdparams", "model_state.safetensors", "trainer_state.json")  # what a trainer's checkpoint has


def check_device_dtype(dtype: str):
    """ValueError for an unknown dtype, or a half precision on a device that cannot compute in it."""
    check_dtype(dtype)
    if dtype != "float32" and paddle.get_device() == "cpu":
        raise ValueError(f"dtype {dtype} needs a GPU: Paddle's CPU kernels compute float32 only. Use --dtype float32.")
    if dtype == "bfloat16" and not paddle.amp.is_bfloat16_supported():
        raise ValueError(
            "This GPU cannot compute in bfloat16 (that takes compute capability 8.0, as A100 and newer have): choose "
            "float32 or float16."
        )


def numbers_in(paths) -> int:
    """How many numbers files hold; reads their headers only."""
    total = 0
    for path in paths:
        with opened(path) as file:
            total += sum(map(math.prod, file.shapes.values()))
    return total


def network_class(kind: str):
    """The class of a network by its name in the release."""
    return VARIANTS[kind][0] if kind in VARIANTS else SINGLE_SIZE[kind]


def network_config(path, kind: str, version=None) -> dict:
    """Constructor arguments of the network in `path`: stored in the file, or those of the version its shapes show.

    ValueError if the file is another network, or another version than `version` asks for, or what it says of itself
    cannot be built.
    """
    with opened(path) as file:
        found = detect_network(file)
        if found != kind:
            raise ValueError(f"{path} holds {found}, not {kind}: give the file of a {kind}.")
        stored = stored_config(file)
        if stored is not None:
            check_arguments(network_class(kind), kind, stored, f"{path}: {CONFIG}", len(file.keys()))
        if stored is not None or kind in SINGLE_SIZE:
            return stored or {}
        detected = detect_version(file, kind)
    if version is not None:
        variant_config(kind, version)  # an unknown name is its own error
    if detected is None:
        raise ValueError(f"{path} is a {kind} of no released size, and its metadata has no 'config' to build it from.")
    if version is not None and detected != version:
        raise ValueError(f"{path} is the {detected} {kind}, but {version} was asked for: change config.py or the file.")
    return variant_config(kind, detected)


def output_size(path, default: int = RELEASED_OUTPUT_SIZE) -> int:
    """The image size in pixels that the prior in `path` was last trained for; official files say nothing: `default`."""
    with opened(path) as file:
        stored = file.metadata.get(OUTPUT_SIZE_KEY)
    if stored is None:
        return default
    if not re.fullmatch("[0-9]{1,9}", stored) or not SMALLEST_OUTPUT <= int(stored) <= LARGEST_OUTPUT:
        raise ValueError(
            f"{path}: the metadata's {OUTPUT_SIZE_KEY!r} is {stored!r:.100}, not a number of pixels from "
            f"{SMALLEST_OUTPUT} to {LARGEST_OUTPUT}: take another file, or convert this one again."
        )
    return int(stored)


def build_unfilled(kind: str, config: dict, where=None) -> paddle.nn.Layer:
    """A network without weights: nothing is allocated or initialised until it is loaded.

    ValueError for arguments that no network can be built of; `where` says in it where they are from.
    """
    where = where or f"the config of a {kind}"
    constructor = network_class(kind)
    check_arguments(constructor, kind, config, where)
    try:
        with paddle.LazyGuard():
            return constructor(**config)
    except ValueError as error:  # what only shows in how they go together
        raise ValueError(f"{where}: {error}") from error


def load_network(path, kind: str, version=None, dtype: str = "float32", config=None) -> paddle.nn.Layer:
    """Build and fill one network from a file of either layout; evaluation mode. config: what `network_config` said."""
    check_device_dtype(dtype)
    config = network_config(path, kind, version) if config is None else config
    network = build_unfilled(kind, config, f"{path}: {CONFIG}")
    load_weights(network, path, kind, dtype)
    network.eval()
    return network


def file_name(kind: str, version=None) -> str:
    """The official name of a network's file; `version` counts for Stage B and C alone."""
    if kind in VARIANTS:
        variant_config(kind, version)  # an unknown version is its own error
    return f"{FILES[kind, version if kind in VARIANTS else None]}.safetensors"


def check_file(path):
    """IsADirectoryError, which names the files to choose from, for a folder in the place of a file of weights."""
    path = Path(path)
    if not path.is_dir():
        return
    if any((path / name).is_file() for name in TRAINED):
        raise IsADirectoryError(
            f"{path} is a trainer's checkpoint folder, and a file is needed: extract one by "
            f"scripts/extract_unet_weights.py --checkpoint_path {path} --model_file tuned.safetensors."
        )
    found = sorted(path.glob("*.safetensors"))
    listed = ", ".join(map(str, found[:SHOWN])) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
    choice = f"give one of {listed}" if len(found) > 1 else f"give {listed}" if found else "it has no safetensors file"
    raise IsADirectoryError(f"{path} is a folder, and a file is needed: {choice}.")


class Release:
    """The folder itself."""

    def __init__(self, folder):
        self.folder = Path(folder)
        if self.folder.is_file():
            raise NotADirectoryError(
                f"{self.folder} is a file, and the folder of a release is needed: give {self.folder.parent} (a prior of "
                "your own goes to --prior_weights, in training to --unet_path)."
            )
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"The weights folder {self.folder} does not exist. Download the Stable Cascade release into it "
                f"(README, 'Weights'), or point WEIGHTS_PATH in {config.where()} or --weights at the folder that has it."
            )

    def file(self, kind: str, version=None) -> Path:
        """Path of a network's file; FileNotFoundError lists the names looked for."""
        stem = file_name(kind, version).removesuffix(".safetensors")
        candidates = [self.folder / f"{stem}{suffix}.safetensors" for suffix in SUFFIXES]
        for path in candidates:
            if path.is_file():
                return path
        present = sorted(path.name for path in self.folder.glob("*.safetensors")) or ["no safetensors file"]
        raise FileNotFoundError(
            f"{self.folder} has no {' or '.join(path.name for path in candidates)} ({kind}"
            f"{f', version {version}' if version else ''}); it has {', '.join(present)}."
        )

    def load(self, kind: str, version=None, dtype: str = "float32") -> paddle.nn.Layer:
        """A network of this release, in evaluation mode."""
        return load_network(self.file(kind, version), kind, version, dtype)
