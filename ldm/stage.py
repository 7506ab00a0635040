"""What ModelC and ModelB are alike in: a UNet that may be trained, beside frozen networks that never are."""

from contextlib import contextmanager

from paddle import nn

from ldm.frozen import Frozen, open_release
from ldm.release import load_network, network_config


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
        import config

        self.frozen, dtype = open_release(weights_path, dtype, frozen)
        version = version or {"stage_c": config.model_c_version, "stage_b": config.model_b_version}[self.kind]
        self.unet_path = unet_path or self.frozen.release.file(self.kind, version)
        self.unet_config = network_config(self.unet_path, self.kind, version)
        self.unet = load_network(self.unet_path, self.kind, version, dtype, self.unet_config)

    def evaluating(self):
        """The UNet, and what is trained along, in evaluation mode, put back into its own mode afterwards."""
        return evaluating(self)


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
