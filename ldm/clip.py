"""The frozen CLIP towers (Radford et al., https://arxiv.org/abs/2103.00020): captions and images -> embeddings.

Notation: B images or captions, L tokens, S the side of an image. Reading their folders is `ldm.clip_folder`'s.
"""

import numpy as np
import paddle

from ldm.clip_folder import load_image_tower, load_text_tower, load_tokenizer

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's own, not ImageNet's
STD = (0.26862954, 0.26130258, 0.27577711)

_SHORTEST = 3  # start, one token, end


class TextEncoder:
    """CLIP's text tower and its tokenizer, frozen. Not a `paddle.nn.Layer`, so no optimiser or autocast reaches it.

    `width` is the size of a token's embedding, `projection_dim` that of a caption's, `max_length` the most tokens.
    """

    def __init__(self, model, tokenizer):
        config = model.config
        self.model = model
        self.tokenizer = tokenizer
        self.width = config.hidden_size
        self.projection_dim = config.projection_dim
        self.vocab_size = config.vocab_size
        self.max_length = min(config.max_position_embeddings, int(tokenizer.model_max_length))
        self.dtype = model.text_projection.dtype

    @classmethod
    def from_folder(cls, text_encoder_dir, tokenizer_dir, dtype="float32"):
        """Read `config.json` and weights of either layout from one folder, the tokenizer's files from the other.

        A missing folder or file raises FileNotFoundError; a damaged or unsuitable one ValueError.
        """
        tokenizer = load_tokenizer(tokenizer_dir)
        return cls(load_text_tower(text_encoder_dir, dtype, tokenizer), tokenizer)

    def tokenize(self, captions, max_length=None):
        """Captions -> (input_ids, attention_mask), int64 (B, L) with L = `max_length` (default: the limit).

        Too long captions are cut and still end with the end token. Raises ValueError for a length out of range and
        for captions that are not a list of strings.
        """
        length = self.max_length if max_length is None else max_length
        if not _SHORTEST <= length <= self.max_length:
            raise ValueError(
                f"max_length is {length}, but this text encoder takes {_SHORTEST} to {self.max_length} tokens; "
                f"choose a value in that range or leave it out"
            )
        if isinstance(captions, str) or not captions or not all(isinstance(caption, str) for caption in captions):
            raise ValueError(f"captions must be a non-empty list of strings, got {captions!r:.200}")
        batch = self.tokenizer(
            list(captions),
            max_length=length,
            padding="max_length",
            truncation=True,
            return_attention_mask=True,
            return_token_type_ids=False,
        )
        return np.asarray(batch["input_ids"], "int64"), np.asarray(batch["attention_mask"], "int64")

    def __call__(self, input_ids, attention_mask):
        """Token ids and mask (B, L) -> text_embeds (B, L, width), pooled_text_embeds (B, 1, projection_dim).

        The first is the last hidden state before the final layer norm; the second is taken, normed and projected, at
        the first end token of each row. Raises ValueError for ids this model cannot have been given on purpose.
        """
        ids, mask = self._checked_tokens(input_ids, attention_mask)
        # A trainer's autocast must not change what a frozen encoder returns.
        with paddle.no_grad(), paddle.amp.auto_cast(enable=False):
            out = self.model(
                input_ids=paddle.to_tensor(ids),
                attention_mask=paddle.to_tensor(mask),
                output_hidden_states=True,
                return_dict=True,
            )
            return out.hidden_states[-1], out.text_embeds.unsqueeze(1)

    def encode(self, captions):
        """Captions -> (text_embeds, pooled_text_embeds), see `__call__`, at the full length."""
        return self(*self.tokenize(captions))

    def _checked_tokens(self, input_ids, attention_mask):
        ids, mask = (np.asarray(x.numpy() if isinstance(x, paddle.Tensor) else x) for x in (input_ids, attention_mask))
        if ids.ndim != 2 or ids.shape != mask.shape or not 1 <= ids.shape[1] <= self.max_length:
            raise ValueError(
                f"input_ids {ids.shape} and attention_mask {mask.shape} must have the same shape (B, L) "
                f"with L from 1 to {self.max_length}"
            )
        if ids.min() < 0 or ids.max() >= self.vocab_size:
            raise ValueError(f"input_ids span {ids.min()}..{ids.max()}, the vocabulary 0..{self.vocab_size - 1}")
        endless = np.flatnonzero(~(ids == self.tokenizer.eos_token_id).any(axis=1))
        if endless.size:
            raise ValueError(
                f"rows {endless.tolist()} of input_ids lack the end token {self.tokenizer.eos_token_id}, where the "
                f"caption's embedding is taken; tokenize with this encoder's `tokenize`"
            )
        return ids.astype("int64"), mask.astype("int64")


class ImageEncoder:
    """CLIP's image tower, frozen. `image_size` is the side S it takes, `projection_dim` the size of its embedding."""

    def __init__(self, model):
        config = model.config
        self.model = model
        self.image_size = config.image_size
        self.projection_dim = config.projection_dim
        self.dtype = model.vision_projection.dtype

    @classmethod
    def from_folder(cls, image_encoder_dir, dtype="float32"):
        """Read `config.json` and weights of either layout from a folder; errors as in `TextEncoder.from_folder`."""
        return cls(load_image_tower(image_encoder_dir, dtype))

    def __call__(self, pixels):
        """Images (B, 3, S, S) in [0, 1], already resized and cropped -> (B, 1, projection_dim)."""
        return self.embed_normalised(self.normalise(pixels))

    def normalise(self, pixels):
        """Images (B, 3, S, S) in [0, 1] -> zero mean and unit variance by CLIP's statistics, float32.

        Raises ValueError for another shape and for integers, whose range is 0 to 255.
        """
        pixels = _as_tensor(pixels)
        side = self.image_size
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, side, side):
            raise ValueError(f"pixels have shape {list(pixels.shape)}, this image encoder takes (B, 3, {side}, {side})")
        if not pixels.is_floating_point():
            raise ValueError(f"pixels have dtype {pixels.dtype}; pass floats in [0, 1] (divide bytes by 255)")
        mean, std = (paddle.to_tensor(x, dtype="float32").reshape([1, 3, 1, 1]) for x in (MEAN, STD))
        return (pixels.astype("float32") - mean) / std

    def embed_normalised(self, pixel_values):
        """Normalised images (B, 3, S, S) -> (B, 1, projection_dim)."""
        with paddle.no_grad(), paddle.amp.auto_cast(enable=False):
            out = self.model(pixel_values=_as_tensor(pixel_values).astype(self.dtype), return_dict=True)
            return out.image_embeds.unsqueeze(1)


def _as_tensor(x):
    return x if isinstance(x, paddle.Tensor) else paddle.to_tensor(x)
