"""Which parts of a network are trained, by the names of its parameters."""

from dataclasses import dataclass, field
from typing import Optional

from ldm.common.patterns import select


@dataclass
class PartsArguments:
    """What is trained of a network, and what stays as it is."""

    train_only: Optional[list[str]] = field(
        default=None, metadata={"help": "train only parameters of these names (pieces, or with * ? [ ])"}
    )
    freeze: Optional[list[str]] = field(default=None, metadata={"help": "leave parameters of these names as they are"})


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
