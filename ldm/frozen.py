"""The frozen networks around prior and decoder, each loaded on first use and shared by everything that uses it."""

from functools import cached_property

import paddle

from ldm.clip.encoders import ImageEncoder, TextEncoder
from ldm.clip.files import weight_files
from ldm.weights.blame import blame_network
from ldm.weights.bundled import weights_folder
from ldm.weights.release import Release, check_device_dtype, load_network, network_config

NETWORKS = ("text", "image", "effnet", "stage_a", "previewer")


class Frozen:
    """Text tower, image tower, EfficientNet encoder, Stage A and previewer of one release folder.

    Not a Layer on purpose: sublayers of a trained model would land in its checkpoints, in its optimiser and under
    mixed precision's casts.
    """

    def __init__(
        self, release: Release, text_encoder="text_encoder", image_encoder="image_encoder", tokenizer="tokenizer"
    ):
        self.release = release
        self._text, self._image, self._tokenizer = (
            release.folder / name for name in (text_encoder, image_encoder, tokenizer)
        )
        self.folders = {path.name: path for path in (self._text, self._image, self._tokenizer)}

    def _load(self, kind: str) -> paddle.nn.Layer:
        network = self.release.load(kind)
        for parameter in network.parameters():
            parameter.stop_gradient = True
        return network

    @property
    def loaded(self) -> list[str]:
        """Which of NETWORKS are in memory."""
        return [name for name in NETWORKS if name in self.__dict__]

    def give_up(self, *names: str):
        """Free these of NETWORKS, or all that has been loaded; what is needed again is read again."""
        for name in names or NETWORKS:
            self.__dict__.pop(name, None)

    def encoder_to_train(self) -> tuple[paddle.nn.Layer, dict]:
        """The semantic encoder once more, to be trained along with a model, and its constructor arguments.

        What was trained on the frozen one's latents, a prior above all, means nothing to it once it has changed.
        """
        path = self.release.file("effnet")
        config = network_config(path, "effnet")
        return load_network(path, "effnet", config=config), config

    def files(self, kind: str) -> list:
        """The files that the weights of one of NETWORKS are read from."""
        folder = {"text": self._text, "image": self._image}.get(kind)
        return [self.release.file(kind)] if folder is None else weight_files(folder)

    def blame(self, kind: str, loras=()) -> str:
        """Why what a network has made is not finite, and what to do; loras: files that were merged into it."""
        network = self.__dict__.get(kind)
        return blame_network(getattr(network, "model", network), self.files(kind), loras)

    @cached_property
    def text(self) -> TextEncoder:
        return TextEncoder.from_folder(self._text, self._tokenizer)

    @cached_property
    def image(self) -> ImageEncoder:
        return ImageEncoder.from_folder(self._image)

    @cached_property
    def effnet(self) -> paddle.nn.Layer:
        return self._load("effnet")

    @cached_property
    def stage_a(self) -> paddle.nn.Layer:
        return self._load("stage_a")

    @cached_property
    def previewer(self) -> paddle.nn.Layer:
        return self._load("previewer")


def open_release(weights_path=None, dtype=None, frozen: Frozen = None) -> tuple[Frozen, str]:
    """The frozen networks of `weights_path` and the dtype to compute in; None means what config.py says.

    `frozen`: share these instead of opening the folder again.
    """
    from ldm import config

    dtype = dtype or config.dtype
    check_device_dtype(dtype)
    if frozen is None:
        names = (config.text_encoder_name, config.image_encoder_name, config.tokenizer_name)
        frozen = Frozen(Release(weights_folder(weights_path)), *names)
    return frozen, dtype
