"""What can be added to a frozen prior: LoRA on its UNet and learned tokens in its text tower; training and loading."""

from pathlib import Path
from typing import Optional

from paddle import nn

from ldm.adapters.base import check_base
from ldm.adapters.files import LoraFile, merge_into, read_lora
from ldm.adapters.lora import LoRA
from ldm.weights.loading import load_weights
from ldm.weights.plan import check_same_shapes, errors_name


class Adapter(nn.Layer):
    """LoRA `weights` and learned tokens `embeddings`, either of them or both; the keys are those of the release's files."""

    def __init__(self, weights: Optional[LoRA] = None, embeddings: Optional[nn.Layer] = None):
        super().__init__()
        self.weights, self.embeddings = weights, embeddings


class Adapters:
    """What has been added to a stage: LoRA files merged into its UNet and text tower, and the Adapter in training, if any.

    An adapter in training is `lora.*` of the stage's state dict. The UNet it belongs to is then frozen and leaves the
    state dict, so that a checkpoint holds what was trained and not the gigabytes that were not.
    """

    def __init__(self, denoiser, unet_path, frozen):
        """denoiser: the stage's, which knows whether its UNet may be changed; frozen: the networks around it."""
        self.denoiser, self.unet_path, self.frozen = denoiser, unet_path, frozen
        self.loaded = ()  # (path, scale) of what `load` has merged
        self.trained: Optional[Adapter] = None
        self.unet_frozen = False

    # Training ---------------------------------------------------------------------------------------------------

    def train(self, tokens=(), train_unet: bool = False, **lora) -> Adapter:
        """Train the tokens that the texts `tokens` describe, and a LoRA where `lora` has its settings.

        lora: filters, rank, alpha, dropout and seed of `ldm.adapters.lora.LoRA`, which freezes the UNet. train_unet
        keeps the UNet trained beside the tokens.
        """
        if lora and train_unet:
            raise ValueError("A LoRA is for a UNet that is frozen: train the one or the other.")
        unet = self.denoiser.eager("be trained")
        weights = LoRA(unet, **lora) if lora else None
        self.trained = Adapter(weights, self.frozen.text.learn_tokens(tokens) if tokens else None)
        self.unet_frozen = not train_unet
        if self.unet_frozen:
            for parameter in unet.parameters():
                parameter.stop_gradient = True
        return self.trained

    @staticmethod
    def set_state(own: dict, state: dict):
        """Put a checkpoint's `state` into the tensors `own`, all of them; WeightsMismatch if it is another adapter's."""
        shapes, expected = ({key: tuple(value.shape) for key, value in part.items()} for part in (state, own))
        check_same_shapes(shapes, expected, "The checkpoint's adapter")
        for key, parameter in own.items():
            parameter.set_value(state[key])
        return [], []

    # Generation -------------------------------------------------------------------------------------------------

    def load(self, path, scale: float = 1.0) -> LoraFile:
        """Merge a LoRA file of either layout, times `scale`, into the UNet, and its learned tokens into the text tower.

        Several may be loaded after one another. ValueError, naming every key, for a LoRA of another size, and for one that
        says it was trained on another prior.
        """
        unet = self.denoiser.eager("take in a LoRA")
        lora = read_lora(path, unet)
        check_base(lora, path, self.unet_path, unet)
        with errors_name(path):
            if lora.tokens is not None:
                self.frozen.text.merge_tokens(lora.tokens.indices, lora.tokens.embeddings, lora.tokens.specs, scale)
            merge_into(unet, lora.updates, scale)
        self.loaded = (*self.loaded, (str(Path(path)), float(scale)))
        return lora

    def unload(self):
        """Read UNet and text tower from their files again, bit by bit what they were."""
        unet = self.denoiser.eager("give back a LoRA")
        load_weights(unet, self.unet_path, self.denoiser.kind, str(unet.dtype).rsplit(".", 1)[-1])
        self.frozen.give_up("text")  # read again on its next use, by whichever stage
        self.loaded = ()
