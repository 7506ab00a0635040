"""Training a CLIP pair (Radford et al., https://arxiv.org/abs/2103.00020): captions and images find each other.

Notation: B pairs in a batch, L tokens, S the side of an image, D the size of an embedding.
"""

import math
from pathlib import Path

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ldm.clip.encoders import ImageEncoder
from ldm.clip.folder import load_image_tower, load_text_tower
from ldm.clip.tokenizer import load_tokenizer

FIRST_LOGIT_SCALE = math.log(1 / 0.07)  # section 2.5 of the paper, like the bound
LARGEST_LOGIT_SCALE = math.log(100)
EXCLUDED = -1e9  # a logit that no softmax in float32 gives any weight


class ClipPair(nn.Layer):
    """A text and an image tower, both made trainable, and the learned log of the inverse temperature.

    `text` and `image` are PaddleNLP's CLIPTextModelWithProjection and CLIPVisionModelWithProjection; ValueError if
    their embeddings differ in size.
    """

    def __init__(self, text, image):
        super().__init__()
        if text.config.projection_dim != image.config.projection_dim:
            raise ValueError(
                f"the text tower embeds in {text.config.projection_dim} dimensions, the image tower in "
                f"{image.config.projection_dim}: give both configs the same projection_dim"
            )
        self.text = text
        self.image = image
        self.logit_scale = self.create_parameter([], default_initializer=nn.initializer.Constant(FIRST_LOGIT_SCALE))
        for parameter in self.parameters():
            parameter.stop_gradient = False  # towers come frozen from their folders
        self.train()

    @classmethod
    def from_folder(
        cls, release_folder, text_encoder="text_encoder", image_encoder="image_encoder", tokenizer="tokenizer"
    ):
        """The towers of a release folder in float32, to go on training; errors as in `ldm.clip.folder`.

        The tokenizer is read for its end token, where captions are embedded. The temperature starts anew: it is no
        part of the towers' folders.
        """
        folder = Path(release_folder)
        text = load_text_tower(folder / text_encoder, tokenizer=load_tokenizer(folder / tokenizer))
        return cls(text, load_image_tower(folder / image_encoder))

    def forward(self, input_ids, attention_mask, clip_pixels, negative_ids=None, negative_mask=None):
        """Tokens and mask (B, L), images (B, 3, S, S) in [0, 1] -> the symmetric InfoNCE loss (), float32.

        negative_ids, negative_mask (B, k, L): captions that are wrong for image i alone, from which it has to tell its own.

        Each caption has to pick its image among the batch's and each image its caption. Pairs whose captions are the
        same, token by token, are left out of each other's negatives.
        """
        # Embed
        text = self.embed_text(input_ids, attention_mask)
        image = self.embed_images(clip_pixels)

        # Compare. Half precision would round similarities that are multiplied by up to 100.
        with paddle.amp.auto_cast(enable=False):
            scale = self._scale()
            logits = scale * paddle.matmul(text, image, transpose_y=True)  # (B captions, B images)
            same = (input_ids.unsqueeze(1) == input_ids.unsqueeze(0)).all(axis=-1)  # (B, B)
            other_pair = paddle.eye(len(input_ids)) == 0
            logits = paddle.where(same & other_pair, paddle.full_like(logits, EXCLUDED), logits)

            # Loss
            own = paddle.arange(len(input_ids))
            choices = logits.T  # (B images, B captions)
            if negative_ids is not None:
                wrong = self.embed_text(negative_ids.flatten(0, 1), negative_mask.flatten(0, 1))
                wrong = wrong.reshape([len(image), -1, image.shape[-1]])  # (B, k, D)
                choices = paddle.concat([choices, scale * (wrong * image.unsqueeze(1)).sum(axis=-1)], axis=1)
            return (F.cross_entropy(logits, own) + F.cross_entropy(choices, own)) / 2

    def embed_text(self, input_ids, attention_mask):
        """Tokens and mask (B, L) -> unit vectors (B, D), float32."""
        out = self.text(input_ids=input_ids, attention_mask=attention_mask, return_dict=True)
        return _unit(out.text_embeds)

    def embed_images(self, clip_pixels):
        """Images (B, 3, S, S) in [0, 1] -> unit vectors (B, D), float32; ValueError for another size or integers."""
        normalised = ImageEncoder(self.image).normalise(clip_pixels)
        return _unit(self.image(pixel_values=normalised, return_dict=True).image_embeds)

    def _scale(self):
        """What similarities are multiplied by, at most 100."""
        # The parameter itself is bounded: clipping only what it is used for would end its gradient there for good.
        with paddle.no_grad():
            self.logit_scale.clip_(max=LARGEST_LOGIT_SCALE)
        return self.logit_scale.astype("float32").exp()


def retrieval(text_embeds, image_embeds) -> tuple[float, float]:
    """How often a caption's own image is the most similar of N, and an image's own caption; each from 1 / N to 1.

    text_embeds, image_embeds: as for `best_matches`. Captions should differ: of two that are the same only one can be
    found.
    """
    best_images, best_captions = best_matches(text_embeds, image_embeds)
    own = np.arange(len(best_images))
    return float((best_images == own).mean()), float((best_captions == own).mean())


def best_matches(text_embeds, image_embeds) -> tuple[np.ndarray, np.ndarray]:
    """For every caption the most similar image, and for every image the most similar caption: indices, (N,) each.

    text_embeds, image_embeds: (N, D), of any length, row i of one belonging to row i of the other. ValueError for
    shapes that are not pairs.
    """
    text, image = (np.asarray(x, "float32") for x in (text_embeds, image_embeds))
    if text.ndim != 2 or text.shape != image.shape or not len(text):
        raise ValueError(
            f"embeddings {text.shape} and {image.shape} are no pairs: give (N, D) and (N, D), N of 1 or more"
        )
    text, image = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (text, image))
    similarity = text @ image.T  # (N captions, N images)
    return similarity.argmax(1), similarity.argmax(0)


def _unit(embeds):
    with paddle.amp.auto_cast(enable=False):
        return F.normalize(embeds.astype("float32"), axis=-1)
