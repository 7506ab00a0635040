"""What a run trains: everything in which the project's trainers differ, so that one Trainer serves them all.

A trainer is a file in ldm/training/tasks: its command line, `GROUPS`, and `build_task`, which states a Task.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import signature
from typing import Optional

from paddle import nn

from ldm.data.dataset import SampleSet
from ldm.diffusion.loss import Objective
from ldm.frozen import Frozen
from ldm.stage import CascadeStage
from ldm.training.batches.draws import Streams, no_draws


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
    """A model whose forward is the loss, with its data, its random numbers and its parts. What is not stated is not there."""

    model: nn.Layer  # model(**arguments) -> the loss (), float32
    dataset: SampleSet
    collate: Callable  # items -> {name: array} of a batch, "index" among them
    networks: dict  # attribute of the model -> NetworkEntry: what a checkpoint holds and export writes
    # (Streams, batch, fixed times or None) -> {name: tensor} drawn for the batch, which may also replace some of it
    draw: Callable = no_draws
    pictures: list = field(default_factory=list)  # of Pictures, logged while training

    # (**batch, **drawn) -> arguments of the model, where they are not these themselves: runs frozen encoders, for instance
    encode: Optional[Callable] = None
    cached: bool = False  # whether items are features, of encoders that do not run

    # Parts of the model
    stage: Optional[CascadeStage] = (
        None  # the model itself, where it denoises: UNet, adapters, weight over noise levels
    )
    encoder: Optional[nn.Layer] = None  # a semantic encoder that is trained along: it computes in float32 throughout
    frozen: Optional[Frozen] = None  # the networks around it
    files: tuple = ()  # that its weights were read from

    # What the checks before a run say
    max_tokens: Optional[int] = None  # of a caption; None: as many as the text encoder takes
    less_memory: tuple = ()  # flags of this trainer alone that need less memory

    @property
    def objective(self) -> Optional[Objective]:
        """What the last batch's loss was made of, where there are noise levels."""
        return None if self.stage is None else self.stage.objective

    @property
    def takes(self) -> dict:
        """{name: inspect.Parameter} of what a batch and its draws are together."""
        return dict(signature(self.encode or self.model.forward).parameters)

    def drawn(self, inputs: dict, streams: Streams, times=None) -> dict:
        """A collated batch of tensors with what is drawn for it. times (B,): instead of drawn ones."""
        batch = {name: value for name, value in inputs.items() if name != "index"}
        return batch | self.draw(streams, batch, times)

    def loss(self, drawn: dict, model: Optional[nn.Layer] = None):
        """The loss () of a batch with its draws. model: `self.model`, or what the Trainer has wrapped around it."""
        return (model or self.model)(**(self.encode(**drawn) if self.encode else drawn))
