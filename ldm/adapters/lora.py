"""LoRA (Hu et al., https://arxiv.org/abs/2106.09685) on the Linear layers of a network, as the release trains it.

Notation: a Linear maps c_in to c_out channels, r is the rank. Its weight, stored (c_in, c_out), is moved by
(alpha / r) * (up @ down) transposed, with down (r, c_in) zero at the start and up (c_out, r) standard normal.
"""

from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from ldm.common.patterns import matches
from ldm.networks.attention import MultiHeadAttention

DEFAULT_FILTERS = (".attn",)  # the release's: the fused query, key, value projection and the output projection
BUILT_FIRST = ("clip_txt_mapper", "clip_txt_pooled_mapper", "clip_img_mapper")  # by the release; we build them last


@dataclass(frozen=True)
class Target:
    """A weight that a LoRA moves: its key in the network's state dict, and the layer it belongs to."""

    key: str
    layer: nn.Layer

    @property
    def fused(self) -> bool:
        """Whether it is an attention's fused query, key and value projection."""
        return isinstance(self.layer, MultiHeadAttention)

    @property
    def weight(self) -> paddle.Tensor:
        """(c_in, c_out)."""
        return self.layer.in_proj_weight if self.fused else self.layer.weight


def find_targets(network: nn.Layer, filters=DEFAULT_FILTERS) -> list[Target]:
    """The Linear weights in layers whose names `filters` match, in the order of the release's LoRA files.

    ValueError for a filter that matches none, and for filters that also match a convolution with a kernel: the release
    would move that too, and the positions in its files would mean something else.
    """
    visited = list(_visit(network, ""))
    names = {name for name, _ in visited}
    chosen = [(name, layer) for name, layer in visited if any(matches(name, pattern) for pattern in filters)]
    useless = [f for f in filters if not any(matches(name, f) and _is_linear(layer) for name, layer in visited)]
    if useless or not filters:
        raise ValueError(
            f"LoRA filters {' '.join(useless) or '(none)'} match no Linear layer of the network's {len(names)} weights: "
            "give pieces of layer names such as .attn, kv_mapper or channelwise."
        )
    others = [name for name, layer in chosen if not _is_linear(layer)]
    if others:
        raise ValueError(
            f"LoRA filters {' '.join(filters)} also match {len(others)} layers that are not Linear ({others[0]}, ...): "
            "choose narrower ones, such as .attn, kv_mapper or channelwise."
        )
    return [_target(name, layer) for name, layer in chosen]


def linear_targets(network: nn.Layer) -> list[Target]:
    """Every Linear weight of a network: all that a LoRA can move."""
    return [_target(name, layer) for name, layer in _visit(network, "") if _is_linear(layer)]


def _target(name: str, layer: nn.Layer) -> Target:
    return Target(f"{name}.in_proj_weight" if isinstance(layer, MultiHeadAttention) else f"{name}.weight", layer)


def _visit(layer: nn.Layer, name: str):
    """(name, layer) of every layer that owns a weight; children before a layer's own, as parametrizations come last."""
    children = list(layer.named_children())
    children.sort(key=lambda child: BUILT_FIRST.index(child[0]) if child[0] in BUILT_FIRST else len(BUILT_FIRST))
    for child_name, child in children:
        yield from _visit(child, f"{name}.{child_name}" if name else child_name)
    if isinstance(layer, MultiHeadAttention) or "weight" in layer._parameters:
        yield name, layer


def _is_linear(layer: nn.Layer) -> bool:
    return isinstance(layer, (nn.Linear, MultiHeadAttention))


class LowRank(nn.Layer):
    """What is added to one Linear. Parameter names and shapes are those of the release's files."""

    def __init__(self, c_in: int, c_out: int, rank: int, alpha: float = 1.0, dropout: float = 0.0, generator=None):
        super().__init__()
        generator = generator or np.random.default_rng()
        normal = nn.initializer.Assign(generator.standard_normal((c_out, rank), dtype=np.float32))
        self.scale, self.dropout = alpha / rank, dropout
        self.lora_down = self.create_parameter([rank, c_in], default_initializer=nn.initializer.Constant(0.0))
        self.lora_up = self.create_parameter([c_out, rank], default_initializer=normal)

    def forward(self, x, first: int = 0, last=None):
        """x (..., c_in) -> what is added to the columns first:last of the Linear's output (..., c_out)."""
        x = F.dropout(x.astype(self.lora_down.dtype), self.dropout, training=self.training)
        inner = paddle.matmul(x, self.lora_down, transpose_y=True)  # (..., r)
        return paddle.matmul(inner, self.lora_up[first:last], transpose_y=True) * self.scale

    def delta(self):
        """What is added to the weight (c_in, c_out), float32."""
        up, down = (parameter.astype("float32") for parameter in (self.lora_up, self.lora_down))
        return paddle.matmul(up, down).t() * self.scale

    def add_to_output(self, layer, inputs, output):
        """A forward hook of the Linear."""
        return output + self.forward(inputs[0]).astype(output.dtype)


class LoRA(nn.LayerList):
    """The LowRanks of a network, attached to it. The network is frozen and its state dict stays as it was.

    filters: see `find_targets`. dropout falls on what goes into the LowRanks, not on what the network sees. seed: of
    the initial `lora_up`. Item i belongs to targets[i].
    """

    def __init__(self, network: nn.Layer, filters=DEFAULT_FILTERS, rank=4, alpha=1.0, dropout=0.0, seed=0):
        self._check(rank, alpha, dropout)
        targets = find_targets(network, filters)
        pairs = []
        for index, target in enumerate(targets):
            generator = np.random.default_rng((seed, index))
            pairs.append(LowRank(*target.weight.shape, rank, alpha, dropout, generator))
        super().__init__(pairs)
        self.targets, self.filters, self.alpha = targets, tuple(filters), float(alpha)
        self.merged, self._hooks = False, []
        for parameter in network.parameters():
            parameter.stop_gradient = True
        self.attach()

    @staticmethod
    def _check(rank, alpha, dropout):
        if rank < 1 or not 0 < alpha < float("inf") or not 0 <= dropout < 1:  # NaN compares as neither
            raise ValueError(
                f"A LoRA needs rank >= 1, a finite alpha > 0 and dropout in [0, 1); got rank {rank}, alpha {alpha}, dropout {dropout}."
            )

    def attach(self):
        """Let the network compute with the LowRanks."""
        if any(target.fused and target.layer.in_proj_update is not None for target in self.targets):
            raise ValueError("The network already has a LoRA attached: merge or detach that one first.")
        for pair, target in zip(self, self.targets):
            if target.fused:
                target.layer.in_proj_update = pair.forward  # not the pair: a sublayer would enter the state dict
            else:
                self._hooks.append(target.layer.register_forward_post_hook(pair.add_to_output))

    def detach(self):
        """Let the network compute without them."""
        for target in self.targets:
            if target.fused:
                target.layer.in_proj_update = None
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def merge(self):
        """Add the LowRanks to the network's weights, where they no longer cost anything."""
        self._move_weights(+1)

    def unmerge(self):
        """Take them out again: float32 weights return to within rounding (1e-6); half precision only to its own."""
        self._move_weights(-1)

    @paddle.no_grad()
    def _move_weights(self, sign: int):
        if self.merged == (sign > 0):
            raise ValueError(f"The LoRA is {'already' if self.merged else 'not'} merged.")
        for pair, target in zip(self, self.targets):
            add_to_weight(target.weight, sign * pair.delta())
        self.merged = sign > 0
        (self.detach if self.merged else self.attach)()


@paddle.no_grad()
def add_to_weight(weight, delta):
    """weight += delta, computed in float32 and stored in the weight's own dtype."""
    weight.set_value((weight.astype("float32") + delta).astype(weight.dtype))
