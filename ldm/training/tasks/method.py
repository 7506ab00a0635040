"""How a network is trained: all of it or parts, by the names of its parameters; the prior also by a LoRA, learned tokens."""

import math
from dataclasses import dataclass, field
from typing import Optional

from ldm.adapters.lora import DEFAULT_FILTERS
from ldm.adapters.tokens import parse_spec
from ldm.common.patterns import select
from ldm.model_c import ModelC
from ldm.training.flags.values import Range, number
from ldm.training.task import NetworkEntry
from ldm.training.tasks.adapter import KIND, lora_entry

METHODS = ("full", "lora", "tokens")
LORA_DEFAULTS = {"lora_rank": 4, "lora_alpha": 1.0, "lora_dropout": 0.0, "lora_filter": None}


@dataclass
class PartsArguments:
    """What is trained of a network, and what stays as it is."""

    train_only: Optional[list[str]] = field(
        default=None, metadata={"help": "train only parameters of these names (pieces, or with * ? [ ])"}
    )
    freeze: Optional[list[str]] = field(default=None, metadata={"help": "leave parameters of these names as they are"})


@dataclass
class MethodArguments(PartsArguments):
    """What is trained, by which method."""

    method: str = field(default="full", metadata={"help": "full: the prior; lora: a LoRA on it; tokens: tokens alone"})
    lora_rank: int = number(LORA_DEFAULTS["lora_rank"], Range(1, 4096), "rank of the LoRA's matrices")
    lora_alpha: float = number(
        LORA_DEFAULTS["lora_alpha"],
        Range(0, 10**6, above=True),
        "the LoRA's strength is alpha / rank; 1 in the release",
    )
    lora_dropout: float = number(
        LORA_DEFAULTS["lora_dropout"], Range(0, 0.99), "dropout on what goes into the LoRA; 0 in the release"
    )
    lora_filter: Optional[list[str]] = field(
        default=None,
        metadata={"help": "layers by pieces of their names, or with * ? [ ]; default: .attn, the release's"},
    )
    learn_tokens: Optional[list[str]] = field(
        default=None,
        metadata={
            "help": "tokens to learn: '[name]:regex', new and started as the mean of the tokens that the expression "
            "finds, or 'regex', existing ones"
        },
    )

    def check_method(self):
        """ValueError for options that cannot be honoured together."""
        if self.method not in METHODS:
            raise ValueError(f"--method must be one of {', '.join(METHODS)}, got {self.method!r}.")
        if self.method != "lora":
            changed = [name for name, default in LORA_DEFAULTS.items() if getattr(self, name) != default]
            if changed:
                raise ValueError(f"--{changed[0]} is for --method lora, but the method is {self.method}.")
        if self.method != "full" and (self.train_only or self.freeze):
            name = "train_only" if self.train_only else "freeze"
            raise ValueError(f"--{name} is for --method full: with {self.method} the prior is frozen as a whole.")
        if self.method == "tokens" and not self.learn_tokens:
            raise ValueError("--method tokens needs --learn_tokens, for instance '[house]:house|home'.")
        for text in self.learn_tokens or ():
            try:
                parse_spec(text)
            except ValueError as error:
                raise ValueError(f"--learn_tokens {error}") from error


def choose_trained(network, only=None, freeze=None):
    """Freeze the parameters that none of the patterns `only` match and those that any of `freeze` does.

    ValueError for a pattern that matches nothing, and if nothing would be left to train.
    """
    parameters = dict(network.named_parameters())
    trained = set(select(parameters, only, "--train_only") if only else parameters)
    trained -= set(select(parameters, freeze, "--freeze") if freeze else ())
    if not trained:
        raise ValueError("--train_only and --freeze leave nothing to train: choose narrower patterns for --freeze.")
    for name, parameter in parameters.items():
        parameter.stop_gradient = name not in trained


def apply_method(model: ModelC, arguments: MethodArguments, seed: int, notes: dict) -> dict[str, NetworkEntry]:
    """Freeze and add what the arguments say; what a checkpoint then holds. notes: metadata of the files made of it."""
    tokens, lora = arguments.learn_tokens or [], {}
    if arguments.method == "lora":
        lora = {
            "filters": arguments.lora_filter or DEFAULT_FILTERS,
            "rank": arguments.lora_rank,
            "alpha": arguments.lora_alpha,
            "dropout": arguments.lora_dropout,
            "seed": seed,
        }
    full = arguments.method == "full"
    if full:
        choose_trained(model.unet, arguments.train_only, arguments.freeze)
    networks = {"unet": NetworkEntry("stage_c", model.unet_config, notes)} if full else {}
    if lora or tokens:
        model.adapt(tokens, train_unet=full, **lora)
        networks[KIND] = lora_entry(model, tokens, notes)
    print(_share(model))
    return networks


def _share(model: ModelC) -> str:
    """How much is trained, for people."""
    trained = sum(math.prod(p.shape) for p in model.parameters() if not p.stop_gradient)
    prior = sum(math.prod(p.shape) for p in model.unet.parameters())
    return f"Training {trained:,} parameters, {100 * trained / prior:.2f} % of the prior's {prior:,}."
