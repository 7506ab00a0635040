"""A release with freshly initialised weights, in the official names and formats: where training from nothing starts.

Every trainer continues from a release folder; after this, training from scratch and fine-tuning are the same thing.
"""

from pathlib import Path

import paddle
from paddle import nn

from ldm.clip.tokenizer import write_tokenizer
from ldm.clip.tower import new_image_tower, new_text_tower, write_tower
from ldm.common.json_files import read_json
from ldm.networks.unet import CascadeUNet
from ldm.training.batch_norms import settle_batch_norms
from ldm.weights.arguments import check_arguments
from ldm.weights.convert import save_weights
from ldm.weights.release import file_name, network_class

VERSIONS = {"stage_c": "1B", "stage_b": "700M"}  # the names that config.py asks for by default
NETWORKS = ("stage_a", "effnet", "previewer", "stage_b", "stage_c")
PARTS = (*NETWORKS, "text_encoder", "image_encoder", "tokenizer")


def read_architecture(path) -> dict:
    """{part: constructor arguments} from a JSON file; ValueError names every part that is missing or unknown."""
    architecture = read_json(path, remedy="mend it, or start from assets/demo_architecture.json")
    missing, unknown = sorted(set(PARTS) - set(architecture)), sorted(set(architecture) - set(PARTS))
    if missing or unknown:
        raise ValueError(f"{path}: missing parts {missing}, unknown parts {unknown}; a release has {', '.join(PARTS)}.")
    for part, config in architecture.items():
        if part in NETWORKS:
            check_arguments(network_class(part), part, config, f"{path}: {part}")
        elif not isinstance(config, dict):
            raise ValueError(f"{path}: {part} is {config!r:.100}, not an object of fields.")
    return architecture


def write_untrained_release(folder, architecture: dict, captions, images, seed: int = 0):
    """Write all parts of a release into `folder`, float32.

    captions: what the tokenizer learns its words from. images (N, 3, S, S) in [0, 1], S divisible by 32, some hundreds:
    what the BatchNorms get their statistics from.
    """
    networks = new_networks(architecture, images, seed)
    for kind, network in networks.items():
        path = Path(folder) / file_name(kind, VERSIONS.get(kind))
        save_weights(network, path, kind, config=architecture[kind], to_release=True)
    write_clip(Path(folder), architecture, captions, seed + len(NETWORKS))


def new_networks(architecture: dict, images, seed: int = 0) -> dict:
    """{kind: network} of NETWORKS, initialised and with the statistics of `images` (N, 3, S, S) in [0, 1]."""
    networks = {kind: new_network(kind, architecture[kind], seed + i) for i, kind in enumerate(NETWORKS)}
    settle_batch_norms(networks["stage_a"], images, networks["stage_a"].encode)
    latents = settle_batch_norms(networks["effnet"], images, networks["effnet"].encode)
    settle_batch_norms(networks["previewer"], latents)
    return networks


def write_clip(folder: Path, architecture: dict, captions, seed: int):
    """Tokenizer and both towers."""
    text, image = architecture["text_encoder"], architecture["image_encoder"]
    longest = text["max_position_embeddings"]
    ids = write_tokenizer(folder / "tokenizer", captions, longest, architecture["tokenizer"]["vocab_size"])
    paddle.seed(seed)
    text = {**text, **ids}
    write_tower(folder / "text_encoder", "text", text, new_text_tower(text).state_dict())
    write_tower(folder / "image_encoder", "image", image, new_image_tower(image).state_dict())


def new_network(kind: str, config: dict, seed: int) -> paddle.nn.Layer:
    """A network with the release's initialisation but for what is said below, the same for the same seed."""
    paddle.seed(seed)
    network = network_class(kind)(**config)
    if isinstance(network, CascadeUNet):
        # The release's stem is tiny and without a bias, and behind it comes a norm: each step of an optimiser turns it
        # upside down, and pure noise says nothing of where it is. A bias is a constant in which zero padding shows.
        stem = network.embedding[1]
        nn.initializer.XavierUniform()(stem.weight)
        stem.bias.set_value(paddle.randn(stem.bias.shape))
    if kind == "stage_a":
        # Latents leave a BatchNorm: entries drawn like them are all in use from the start, whereas the constructor's
        # tiny ones would share a handful between all latents
        codebook = network.vquantizer.codebook.weight
        codebook.set_value(paddle.randn(codebook.shape))
    return network
