"""What ModelC and ModelB are alike in: a UNet that is trained or generates, beside frozen networks that never are."""

from contextlib import contextmanager
from typing import Optional

from paddle import nn

from ldm.adapters.adapter import Adapters
from ldm.conditions import EncodedCaptions, encode_captions
from ldm.diffusion.loss import Objective, denoising_objective, p2_weight
from ldm.diffusion.schedule import CosineSchedule
from ldm.frozen import Frozen, open_release
from ldm.networks.unet import CascadeUNet
from ldm.weights.blame import blame_network, check_finite, non_finite_weight
from ldm.weights.release import load_network, network_config


class Denoiser:
    """What a stage denoises with: its UNet, or the programs compiled from it, which generate and can do nothing else.

    Whoever wants the UNet's weights themselves, to train them or to merge a LoRA, asks for them by `eager`; the sampling
    loop asks by `bound`. What steers the UNet from outside, as a ControlNet's residuals do, enters in `bound` as well.
    """

    def __init__(self, unet: CascadeUNet, kind: str):
        self.unet, self.kind, self.compiled = unet, kind, None

    def compile(self, folder, keep_weights: bool = True):
        """Generate by compiled programs from now on; see `ldm.compiled.unet.CompiledUNet`."""
        from ldm.compiled.unet import CompiledUNet

        self.compiled = CompiledUNet(self.unet, folder, keep_weights)

    def eager(self, what: str) -> CascadeUNet:
        """The UNet, for what changes or needs its weights; ValueError once it is compiled, which says `what` it cannot."""
        if self.compiled is not None:
            raise ValueError(
                f"This {self.kind} is compiled for generation and cannot {what}: do that before compiling."
            )
        return self.unet

    def bound(self, size, **conditions):
        """As `CascadeUNet.bound`."""
        return (self.compiled or self.unet).bound(size, **conditions)

    @property
    def prediction_type(self) -> str:
        return self.unet.prediction_type


class CascadeStage(nn.Layer):
    """One diffusion stage. Its state dict holds the UNet as `unet.*`, and what is trained beside it or in its stead.

    Without arguments it reads config.py. weights_path: release folder; version: the UNet's size; dtype of the UNet;
    unet_path: a single UNet file instead of the release's, for instance an extracted fine-tuned one;
    frozen: towers and encoders to share with another stage.
    """

    kind = ""  # the network's name in the release
    loss_weight = staticmethod(p2_weight)  # log_snr (B,) -> weights (B,); training may set another
    schedule = CosineSchedule()  # of the noise that training adds; likewise
    objective: Optional[Objective] = None  # of the last training batch

    def __init__(self, weights_path=None, version=None, dtype=None, unet_path=None, frozen: Frozen = None):
        super().__init__()
        from ldm import config

        frozen, dtype = open_release(weights_path, dtype, frozen)
        version = version or {"stage_c": config.model_c_version, "stage_b": config.model_b_version}[self.kind]
        path = unet_path or frozen.release.file(self.kind, version)
        unet_config = network_config(path, self.kind, version)
        self.hold(load_network(path, self.kind, version, dtype, unet_config), unet_config, path, frozen)

    def hold(self, unet: CascadeUNet, unet_config: dict, unet_path, frozen: Frozen):
        """Take a UNet of these constructor arguments, read from `unet_path`, and the networks around it."""
        self.unet, self.unet_config, self.unet_path, self.frozen = unet, unet_config, unet_path, frozen
        self.denoiser = Denoiser(unet, self.kind)
        self.adapters = Adapters(self.denoiser, unet_path, frozen)

    def compile(self, folder, keep_weights: bool = True):
        """Generate by compiled programs from now on, kept in `folder`. LoRAs are loaded before; then nothing is trained."""
        self.denoiser.compile(folder, keep_weights)

    def training_loss(self, latents, conditions: dict, t, epsilon) -> Objective:
        """The release's loss: weighted squared error of the prediction; kept in `objective`. t (B,) in [0.001, 1]."""
        unet = self.denoiser.eager("be trained")
        objective = denoising_objective(unet, latents, conditions, t, epsilon, self.loss_weight, self.schedule)
        self.objective = objective.detached()
        return objective

    # Checkpoints ------------------------------------------------------------------------------------------------

    def state_dict(self, *arguments, **options):
        """Without a UNet that is frozen beneath its adapter: what was not trained is not written."""
        state = super().state_dict(*arguments, **options)
        for key in [key for key in state if self.adapters.unet_frozen and key.startswith("unet.")]:
            del state[key]
        return state

    def set_state_dict(self, state_dict, *arguments, **options):
        """As Paddle's; but a checkpoint of another adapter raises WeightsMismatch instead of being read in part."""
        if not self.adapters.unet_frozen:
            return super().set_state_dict(state_dict, *arguments, **options)
        return self.adapters.set_state(self.state_dict(), state_dict)

    # Captions and blame -----------------------------------------------------------------------------------------

    def encoded(self, captions) -> EncodedCaptions:
        """`encode_captions`; FloatingPointError, which names the file, where the text tower makes NaN or infinity."""
        return checked_captions(self.frozen, captions, self.lora_paths)

    @property
    def lora_paths(self) -> list:
        """Files of the LoRAs in the UNet and in the text tower beside it."""
        return [path for path, _ in self.adapters.loaded]

    def blame(self) -> str:
        """Why what the UNet has made is not finite, though its conditions are, and what to do."""
        trained = self.adapters.trained
        if trained is not None and (key := non_finite_weight(trained)) is not None:
            return f"The LoRA's {key} is not finite: training has spoilt it; go back to an earlier checkpoint."
        dtype = str(self.unet.dtype).rsplit(".", 1)[-1]
        return blame_network(self.unet, [self.unet_path], self.lora_paths, dtype)

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
