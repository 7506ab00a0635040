"""What a run trains: everything in which the project's trainers differ, so that one Trainer serves them all."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Optional

from paddle import nn

from ldm.training.batches.draws import no_draws


@dataclass(frozen=True)
class NetworkEntry:
    """One network inside a trained model: its name in the release, its constructor arguments, and what else its file
    should say about it (metadata, {name: text}). write(folder): files of its own, beside every checkpoint's weights."""

    kind: str
    config: dict
    notes: dict = field(default_factory=dict)
    write: Optional[Callable] = None


@dataclass
class Task:
    """A model whose forward is the loss, with the data, the random numbers and the networks that belong to it."""

    model: nn.Layer  # model(**batch, **draws) -> the loss (), float32
    dataset: object  # map-style; every item has an "index"
    collate: Callable  # items -> {name: array} of a batch, "index" among them
    networks: dict  # attribute of the model -> NetworkEntry: what a checkpoint holds and export writes
    # (Streams, batch, fixed times or None) -> random arguments of the model, which may also replace some of the batch
    draw: Callable = no_draws
    pictures: list = field(default_factory=list)  # of Pictures, for looks while training
