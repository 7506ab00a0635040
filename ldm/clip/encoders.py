"""The frozen CLIP towers (Radford et al., https://arxiv.org/abs/2103.00020): captions and images -> embeddings.

Notation: B images or captions, L tokens, S the side of an image. Reading their folders is `ldm.clip.folder`'s.
"""

from contextlib import nullcontext

import numpy as np
import paddle

from ldm.adapters.tokens import LearnedTokens, parse_spec
from ldm.clip.folder import load_image_tower, load_text_tower
from ldm.clip.tokenizer import SHORTEST, load_tokenizer

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's own, not ImageNet's
STD = (0.26862954, 0.26130258, 0.27577711)


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
        self.first_new_token = len(tokenizer)
        self.learned = None  # LearnedTokens in training, for whose sake gradients pass through the tower

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
        if not SHORTEST <= length <= self.max_length:
            raise ValueError(
                f"max_length (--model_max_length) is {length}, but this text encoder takes {SHORTEST} to {self.max_length} tokens; "
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
        the first end token of each row. Raises ValueError for ids that this model cannot embed.
        """
        ids, mask = self._checked_tokens(input_ids, attention_mask)
        # A trainer's autocast must not change what a frozen encoder returns.
        gradients = nullcontext() if self.learned is not None else paddle.no_grad()
        with gradients, paddle.amp.auto_cast(enable=False):
            out = self.model(
                input_ids=paddle.to_tensor(ids),
                attention_mask=paddle.to_tensor(mask),
                output_hidden_states=True,
                return_dict=True,
            )
            return out.hidden_states[-1], out.text_embeds.unsqueeze(1)

    @paddle.no_grad()
    def encode(self, captions):
        """Captions -> (text_embeds, pooled_text_embeds), see `__call__`, at the full length and without gradients."""
        return self(*self.tokenize(captions))

    # Learned tokens ---------------------------------------------------------------------------------------------

    def learn_tokens(self, specs) -> LearnedTokens:
        """Let the tokens that `specs` describe (see `ldm.adapters.tokens`) be trained; new ones are added."""
        if self.learned is not None:
            raise ValueError("This text encoder is already learning tokens.")
        ids, _ = self._add_tokens(specs)
        self.learned = LearnedTokens(ids, self.vocab_size, self.width)
        self.model.get_input_embeddings().register_forward_post_hook(self.learned.add_to_output)
        return self.learned

    @paddle.no_grad()
    def merge_tokens(self, indices, embeddings, specs=(), scale=1.0):
        """Add learned `embeddings` (n, width), times `scale`, to the rows `indices` (n,), and the new tokens of `specs`.

        Indices from the size of the vocabulary on count the new tokens. ValueError where they do not fit.
        """
        new = len({int(index) for index in indices if index >= self.first_new_token})
        described = [spec for spec in specs if parse_spec(spec).name is not None]
        if not (np.isfinite(scale) and np.isfinite(embeddings).all() and min(indices, default=0) >= 0):
            raise ValueError(
                f"Learned tokens are finite, as is what they are multiplied by (got {scale}), and count from 0."
            )
        if embeddings.shape[1] != self.width or max(indices, default=0) >= self.first_new_token + len(described):
            raise ValueError(
                f"The file's learned tokens, {len(indices)} of width {embeddings.shape[1]} of which {new} are new and "
                f"{len(described)} of these described, do not fit this text encoder ({self.first_new_token} tokens of "
                f"width {self.width}): take the encoder they were trained with, and describe new tokens with "
                "scripts/convert_lora.py --tokens [name]:regex, in the order of training."
            )
        _, added = self._add_tokens(specs)
        rows = [int(i) if i < self.first_new_token else added[int(i) - self.first_new_token] for i in indices]
        weight = self.model.get_input_embeddings().weight
        change = np.zeros(weight.shape, np.float32)
        np.add.at(change, rows, np.asarray(embeddings, np.float32) * scale)
        weight.set_value((weight.astype("float32") + paddle.to_tensor(change)).astype(weight.dtype))

    @paddle.no_grad()
    def _add_tokens(self, specs) -> tuple[list, list]:
        """Ids of all tokens that `specs` describe, sorted, and of the new ones in their order. Files stay as they are."""
        specs, vocabulary = [parse_spec(text) for text in specs], self.tokenizer.get_vocab()
        old = {token: index for token, index in vocabulary.items() if index < self.first_new_token}
        found = [spec.find(old) for spec in specs]
        names = [spec.name for spec in specs if spec.name is not None]
        taken = [name for name in names if name in vocabulary or names.count(name) > 1]
        if taken:
            raise ValueError(f"The token {taken[0]} exists already: give every new token a name of its own.")
        embedding, added, selected = self.model.get_input_embeddings(), [], set()
        rows = {}  # new id -> its first embedding
        for spec, ids in zip(specs, found):
            if spec.name is None:
                selected |= set(ids)
                continue
            self.tokenizer.add_tokens([spec.name])
            added.append(int(self.tokenizer.convert_tokens_to_ids(spec.name)))
            rows[added[-1]] = embedding.weight[ids].mean(axis=0)
        if rows:
            self._resize_embedding(embedding, rows)
        return sorted(selected | set(added)), added

    def _resize_embedding(self, old, rows: dict):
        """Give the token embedding the rows {id: (width,)}."""
        self.vocab_size = max(self.vocab_size, *(index + 1 for index in rows))
        table = np.zeros((self.vocab_size, self.width), np.float32)
        table[: old.weight.shape[0]] = old.weight.astype("float32").numpy()
        for index, row in rows.items():
            table[index] = row.astype("float32").numpy()
        new = paddle.nn.Embedding(self.vocab_size, self.width)
        new.to(dtype=old.weight.dtype)
        new.weight.set_value(paddle.to_tensor(table).astype(old.weight.dtype))
        new.weight.stop_gradient = True
        self.model.set_input_embeddings(new)

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
