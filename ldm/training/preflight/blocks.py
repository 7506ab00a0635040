"""What the blocks of the cascade's UNets keep in memory between forward and backward pass, counted tensor by tensor.

Paddle keeps the inputs of a product or convolution, the input of a norm and of GELU, and the output of softmax and
dropout; additions and transpositions keep nothing. Each function below lists them in the order of the block's forward.
"""

from dataclasses import dataclass

FLOAT32, MASK = 4, 1  # bytes of a number in a float32 region, and of a dropout mask's entry


@dataclass(frozen=True)
class Shape:
    """What a block sees: `batch` images of `pixels` positions and `tokens` conditioning tokens, on a device.

    number: bytes of a number where the network computes (4, or 2 under mixed precision). on_cpu: some layers have
    gradients of their own (`ldm.networks.layers.fast`), which keep less.
    """

    batch: int
    pixels: int
    tokens: int
    c_cond: int
    number: int = FLOAT32
    on_cpu: bool = True

    @property
    def rows(self) -> int:
        """Positions of the whole batch."""
        return self.batch * self.pixels


def norm(shape: Shape, rows: int, c: int) -> int:
    """A LayerNorm's input in float32, its mean and its variance."""
    return rows * (c + 2) * FLOAT32


def response_norm(shape: Shape, c: int) -> int:
    """GlobalResponseNorm: its input, four vectors per image; on a CPU one."""
    return (shape.rows * c + (1 if shape.on_cpu else 4) * shape.batch * c) * FLOAT32


def channel_mlp(shape: Shape, c_in: int, c: int, dropout: float) -> int:
    """Its input, GELU's input, the response norm's, the last product's, and the dropout mask; the middle is 4c wide."""
    wide = shape.rows * 4 * c
    kept = shape.rows * c_in * shape.number + wide * shape.number + response_norm(shape, 4 * c) + wide * shape.number
    return kept + (wide * MASK if dropout else 0)


def res_block(shape: Shape, c: int, c_skip: int, dropout: float) -> int:
    """The convolution's input, channels first, the norm's, the MLP's own. The block's input itself is not kept."""
    return shape.rows * c * shape.number + norm(shape, shape.rows, c) + channel_mlp(shape, c + c_skip, c, dropout)


def feed_forward_block(shape: Shape, c: int, dropout: float) -> int:
    """The norm's input, which is the block's, and the MLP's own."""
    return norm(shape, shape.rows, c) + channel_mlp(shape, c, c, dropout)


def timestep_block(shape: Shape, c: int) -> int:
    """The block's input; on a CPU the factor as well."""
    return (shape.rows * c + (shape.batch * c if shape.on_cpu else 0)) * shape.number


def attention_scores(shape: Shape, heads: int, self_attn: bool) -> int:
    """Entries of the attention weights."""
    return shape.batch * heads * shape.pixels * (shape.tokens + (shape.pixels if self_attn else 0))


def attn_block(shape: Shape, c: int, heads: int, self_attn: bool, dropout: float) -> int:
    """The norm's input and output, the tokens after SiLU, keys and values together and apart, the scaled query, the
    softmax in float32 and its dropout, what goes into the last product; and copies of the split fused weights."""
    tokens = shape.batch * shape.tokens
    keys = tokens + (shape.rows if self_attn else 0)
    scores = attention_scores(shape, heads, self_attn)
    numbers = tokens * shape.c_cond + 3 * keys * c + 3 * shape.rows * c + 3 * c * c
    kept = norm(shape, shape.rows, c) + numbers * shape.number + scores * FLOAT32
    if dropout:
        kept += scores * (shape.number + MASK)
    elif shape.number != FLOAT32:
        kept += scores * shape.number
    return kept


def backward_workspace(shape: Shape, c: int, heads: int, letter: str, self_attn: bool, dropout: float) -> int:
    """Most that a block's backward pass holds beside what the forward pass kept, measured.

    In numbers of 4 bytes: 13 of the image's size for a block with an MLP, 14 without dropout; for attention 5 and once
    the attention weights' size, or twice that without dropout; 4 for the others.
    """
    if letter in ("C", "F"):
        return (13 if dropout else 14) * shape.rows * c * FLOAT32
    if letter == "A":
        scores = attention_scores(shape, heads, self_attn)
        return (scores + 5 * shape.rows * c if dropout else 2 * scores) * FLOAT32
    return 4 * shape.rows * c * FLOAT32
