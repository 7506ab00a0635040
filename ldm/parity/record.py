"""One recorded file: its settings, inputs and outputs, and the network it was recorded from."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import paddle

from ldm.weights.files import TensorFile
from ldm.weights.loading import fill
from ldm.weights.plan import network_shapes, plan_conversion, release_shapes
from ldm.weights.rules import RULES
from ldm.weights.synthetic import rule_tensor

NOT_CONSTRUCTOR_ARGUMENTS = ("weights", "salt", "note")


@dataclass(frozen=True)
class Check:
    """One comparison: its name, its relative error and the bound it must keep."""

    case: str
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.error <= self.bound  # False for NaN


def relative_error(ours, reference) -> float:
    """||ours - reference|| / ||reference|| in float64; infinite where the shapes differ."""
    ours, reference = (
        np.asarray(x.numpy() if isinstance(x, paddle.Tensor) else x, np.float64) for x in (ours, reference)
    )
    if ours.shape != reference.shape:
        return float("inf")
    scale = np.linalg.norm(reference)
    return float(np.linalg.norm(ours - reference) / (scale if scale > 0 else 1.0))


class Record:
    """A reference file read lazily by key."""

    def __init__(self, path):
        self.path = Path(path)
        self.file = TensorFile(path)
        if "config" not in self.file.metadata:
            raise ValueError(f"{self.path} has no 'config' in its metadata: it is not a reference recording.")
        self.config = json.loads(self.file.metadata["config"])
        self.read = set()

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def keys(self) -> list:
        return list(self.file.keys())

    def has(self, key: str) -> bool:
        return key in self.file.shapes

    def array(self, key: str) -> np.ndarray:
        self.read.add(key)
        return self.file.read_numpy(key)

    def tensor(self, key: str) -> paddle.Tensor:
        return paddle.to_tensor(self.array(key))

    def under(self, prefix: str) -> list:
        """Keys below `prefix`, without it."""
        return [key.removeprefix(prefix) for key in self.keys if key.startswith(prefix)]

    def unread_outputs(self) -> list:
        """Recorded results that nothing has asked for yet."""
        results = [
            key for key in self.keys if key.startswith(("grad.", "grad_in.", "final.")) or "out" in key.split(".")[:2]
        ]
        return [key for key in results if key not in self.read]

    def sibling(self, reference: str) -> "Record":
        """The record in the same folder that a setting such as "stage_c_tiny weights" names."""
        return Record(self.path.with_name(f"{reference.split()[0]}.safetensors"))

    @property
    def constructor_arguments(self) -> dict:
        return {key: value for key, value in self.config.items() if key not in NOT_CONSTRUCTOR_ARGUMENTS}

    def build(self, cls, kind: str, **arguments):
        """The recorded network in evaluation mode, its weights stored or filled by the rule through our converter."""
        with paddle.LazyGuard():
            network = cls(**{**arguments, **self.constructor_arguments})
        stored = self.under("weights.")
        if bool(stored) == (self.config.get("weights") == "rule"):
            raise ValueError(f"{self.path}: weights must be either stored or of the rule, exactly one of them.")
        shapes = {key: self.file.shapes[f"weights.{key}"] for key in stored} or release_shapes(network, kind)
        targets = network.state_dict()
        for move in plan_conversion(shapes, network_shapes(network), RULES[kind], str(self.path)):
            if stored:
                value = self.array(f"weights.{move.release_key}")
            else:
                value = rule_tensor(move.release_key, move.release_shape, self.config.get("salt", ""))
            fill(targets[move.paddle_key], move.rule.layout.to_paddle(value), "float32")
        network.eval()
        return network
