"""Learned tokens (textual inversion, Gal et al., https://arxiv.org/abs/2208.01618), as the release trains them.

A token is described by one text: `[name]:regex` is a new token, which starts as the mean of all tokens that the regular
expression finds; a regular expression alone stands for the existing tokens that it finds. What is learned is added to
the rows of the frozen text tower's token embedding.
"""

import re
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

NEW = re.compile(r"(\[[^\[\]\s]+\]):(.+)")
LONGEST = 500  # characters of an expression
NESTED = re.compile(r"[+*}]\??[^(]*\)[+*{]")  # a repetition that ends a group which is repeated
BARE_NAME = re.compile(r"\[[^\[\]\s]+\]:?")


@dataclass(frozen=True)
class TokenSpec:
    """One description of tokens. `name` is None for existing ones."""

    name: object
    pattern: re.Pattern

    def find(self, vocabulary: dict) -> list[int]:
        """Ids of the tokens {token: id} that the expression finds; ValueError if there are none."""
        ids = sorted(index for token, index in vocabulary.items() if self.pattern.search(token))
        if not ids:
            raise ValueError(
                f"The expression {self.pattern.pattern!r} finds none of the {len(vocabulary)} tokens of the text encoder: "
                "tokens are words or pieces of words, and the last piece of a word ends with </w>."
            )
        return ids


def parse_spec(text: str) -> TokenSpec:
    """`[name]:regex` or `regex`; ValueError for anything else."""
    new = NEW.fullmatch(text)
    if new is None and BARE_NAME.fullmatch(text):
        raise ValueError(
            f"{text}: a new token needs a start, as in {text.rstrip(':')}:house|home (a regular expression)."
        )
    name, expression = new.groups() if new else (None, text)
    if name is not None and name != name.lower():
        raise ValueError(f"{name}: captions are read in lower case, so give a lower-case name.")
    if len(expression) > LONGEST or NESTED.search(expression):
        raise ValueError(
            f"{text!r:.200}: the expression has more than {LONGEST} characters, or repeats what repeats, as in (a+)+, which "
            "can take for ever: write it without."
        )
    try:
        return TokenSpec(name, re.compile(expression))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"{text}: {expression!r} is not a regular expression ({error}).") from error


class LearnedTokens(nn.Layer):
    """What is added to the embeddings of the tokens `indices` (n,): `embeddings` (n, width), zero at the start."""

    def __init__(self, indices, vocab_size: int, width: int):
        super().__init__()
        self.indices = np.asarray(indices, np.int64)
        self.embeddings = self.create_parameter(
            [len(self.indices), width], default_initializer=nn.initializer.Constant(0.0)
        )
        rows = np.zeros(vocab_size, np.int64)  # token -> row of the table in `forward`, 0 for what is not learned
        rows[self.indices] = np.arange(1, len(self.indices) + 1)
        self.register_buffer("rows", paddle.to_tensor(rows), persistable=False)

    def forward(self, ids, embedded):
        """Token ids (B, L) and their embeddings (B, L, width) -> these plus what was learned."""
        table = paddle.concat([paddle.zeros_like(self.embeddings[:1]), self.embeddings])
        return embedded + F.embedding(self.rows[ids], table).astype(embedded.dtype)

    def add_to_output(self, layer, inputs, output):
        """A forward hook of the token embedding."""
        return self.forward(inputs[0], output)
