"""What ModelC and ModelB are alike in: a UNet that may be trained, beside frozen networks that never are."""

from contextlib import contextmanager

from paddle import nn

from ldm.conditions import EncodedCaptions, encode_captions
from ldm.frozen import Frozen, open_release
from ldm.weights.blame import blame_network, check_finite, non_finite_weight
from ldm.weights.release import load_network, network_config


class EncoderOwner:
    """Mixin for models with `frozen` networks that may train the semantic encoder along, as `effnet.*` of their state."""

    def train_encoder(self) -> dict:
        """Train the encoder along, no longer the frozen one; its constructor arguments.

        What was trained on the old encoder's latents, a prior above all, means nothing to the new one.
        """
        path = self.frozen.release.file("effnet")
        config = network_config(path, "effnet")
        self.effnet = load_network(path, "effnet", config=config)
        return config

    @property
    def encoder(self) -> nn.Layer:
        """The EfficientNet in use: the one that is trained along, else the frozen one."""
        return self.effnet if "effnet" in self._sub_layers else self.frozen.effnet


class CascadeStage(nn.Layer):
    """One diffusion stage. Its state dict holds the UNet and nothing else, as `unet.*`.

    Without arguments it reads config.py. weights_path: release folder; version: the UNet's size; dtype of the UNet;
    unet_path: a single UNet file instead of the release's, for instance an extracted fine-tuned one;
    frozen: towers and encoders to share with another stage.
    """

    kind = ""  # the network's name in the release

    def __init__(self, weights_path=None, version=None, dtype=None, unet_path=None, frozen: Frozen = None):
        super().__init__()
        from ldm import config

        self.frozen, dtype = open_release(weights_path, dtype, frozen)
        version = version or {"stage_c": config.model_c_version, "stage_b": config.model_b_version}[self.kind]
        self.unet_path = unet_path or self.frozen.release.file(self.kind, version)
        self.unet_config = network_config(self.unet_path, self.kind, version)
        self.unet = load_network(self.unet_path, self.kind, version, dtype, self.unet_config)

    def blame(self) -> str:
        """Why what the UNet has made is not finite, though its conditions are, and what to do."""
        adapter = getattr(self, "lora", None)
        if adapter is not None and (key := non_finite_weight(adapter)) is not None:
            return f"The LoRA's {key} is not finite: training has spoilt it; go back to an earlier checkpoint."
        dtype = str(self.unet.dtype).rsplit(".", 1)[-1]
        return blame_network(self.unet, [self.unet_path], self.lora_paths, dtype)

    @property
    def lora_paths(self) -> list:
        """Files of the LoRAs in the UNet and in the text tower beside it."""
        return [path for path, _ in getattr(self, "loaded_loras", ())]

    def encoded(self, captions) -> EncodedCaptions:
        """`encode_captions`; FloatingPointError, which names the file, where the text tower makes NaN or infinity."""
        return checked_captions(self.frozen, captions, self.lora_paths)

    def evaluating(self):
        """The UNet, and what is trained along, in evaluation mode, put back into its own mode afterwards."""
        return evaluating(self)


def checked_captions(frozen: Frozen, captions, loras=()) -> EncodedCaptions:
    """B captions encoded and known to be finite: the prior would be blamed for them. loras: files with learned tokens."""
    encoded = encode_captions(frozen, captions)
    for part in (encoded.text_embeds, encoded.pooled, encoded.empty_text_embeds, encoded.empty_pooled):
        check_finite(part, "Text encoder: the captions' embedding", lambda: frozen.blame("text", loras))
    return encoded


@contextmanager
def evaluating(network: nn.Layer):
    """A network in evaluation mode; afterwards every layer of it is put back into the mode it was in."""
    training = [layer for layer in network.sublayers(include_self=True) if layer.training]
    network.eval()
    try:
        yield
    finally:
        for layer in training:
            layer.training = True
