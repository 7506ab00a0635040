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


class AdapterOwner:
    """Mixin for a CascadeStage whose UNet and text tower may be adapted.

    An adapter in training is `lora.*` of the state dict. The UNet it belongs to is then frozen and leaves the state
    dict, so that a checkpoint holds what was trained and not the gigabytes that were not.
    """

    unet_frozen = False
    loaded_loras = ()  # (path, scale) of what `load_lora` has merged

    def adapt(self, tokens=(), train_unet: bool = False, **lora) -> Adapter:
        """Train the tokens that the texts `tokens` describe, and a LoRA where `lora` has its settings.

        lora: filters, rank, alpha, dropout and seed of `ldm.adapters.lora.LoRA`, which freezes the UNet. train_unet
        keeps the UNet trained beside the tokens.
        """
        if lora and train_unet:
            raise ValueError("A LoRA is for a UNet that is frozen: train the one or the other.")
        weights = LoRA(self.unet, **lora) if lora else None
        self.lora = Adapter(weights, self.frozen.text.learn_tokens(tokens) if tokens else None)
        self.unet_frozen = not train_unet
        if self.unet_frozen:
            for parameter in self.unet.parameters():
                parameter.stop_gradient = True
        return self.lora

    # Checkpoints ------------------------------------------------------------------------------------------------

    def state_dict(self, *arguments, **options):
        """Without a UNet that is frozen."""
        state = super().state_dict(*arguments, **options)
        for key in [key for key in state if self.unet_frozen and key.startswith("unet.")]:
            del state[key]
        return state

    def set_state_dict(self, state_dict, *arguments, **options):
        """As Paddle's; but a checkpoint of another adapter raises WeightsMismatch instead of being read in part."""
        if not self.unet_frozen:
            return super().set_state_dict(state_dict, *arguments, **options)
        own, shapes = self.state_dict(), {key: tuple(value.shape) for key, value in state_dict.items()}
        check_same_shapes(shapes, {key: tuple(value.shape) for key, value in own.items()}, "The checkpoint's adapter")
        for key, parameter in own.items():
            parameter.set_value(state_dict[key])
        return [], []

    # Generation -------------------------------------------------------------------------------------------------

    def load_lora(self, path, scale: float = 1.0) -> LoraFile:
        """Merge a LoRA file of either layout, times `scale`, into the UNet, and its learned tokens into the text tower.

        Several may be loaded after one another. ValueError, naming every key, for a LoRA of another size, and for one that
        says it was trained on another prior.
        """
        lora = read_lora(path, self.unet)
        check_base(lora, path, self.unet_path, self.unet)
        with errors_name(path):
            if lora.tokens is not None:
                self.frozen.text.merge_tokens(lora.tokens.indices, lora.tokens.embeddings, lora.tokens.specs, scale)
            merge_into(self.unet, lora.updates, scale)
        self.loaded_loras = (*self.loaded_loras, (str(Path(path)), float(scale)))
        return lora

    def unload_loras(self):
        """Read UNet and text tower from their files again, bit by bit what they were."""
        load_weights(self.unet, self.unet_path, self.kind, str(self.unet.dtype).rsplit(".", 1)[-1])
        self.frozen.__dict__.pop("text", None)  # read again on its next use, by whichever stage
        self.loaded_loras = ()
