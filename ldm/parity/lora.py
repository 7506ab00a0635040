"""Checks of a LoRA: its positional file, attached and merged, and the way through the layout of other tools."""

import paddle

from ldm.adapters.files import merge_into
from ldm.adapters.layouts import from_named, from_positional, to_named, to_positional
from ldm.adapters.lora import LoRA, find_targets, linear_targets
from ldm.networks.stage_c import StageC
from ldm.parity.networks import FORWARD, STAGE_C_INPUTS
from ldm.parity.record import Check, Record, relative_error


def check_lora(record: Record):
    config = record.config
    network = record.sibling(config["base"]).build(StageC, "stage_c")
    targets = find_targets(network, config["filters"])
    tensors = {key: record.array(f"lora.{key}") for key in record.under("lora.")}
    updates = from_positional(tensors, targets, record.path, config["alpha"])
    misplaced = sum(ours.key != _plain(theirs) for ours, theirs in zip(targets, config["order"]))
    misplaced += abs(len(targets) - len(config["order"]))
    yield Check(f"order of {len(targets)} weights", float(misplaced), 0.0)

    def error():
        inputs = {name: record.tensor(f"in.{name}") for name in STAGE_C_INPUTS}
        with paddle.no_grad():
            return relative_error(network(**inputs), record.array("out.pred"))

    lora = LoRA(network, config["filters"], config["rank"], config["alpha"])
    lora.set_state_dict({key.removeprefix("weights."): value for key, value in tensors.items()})
    yield Check("attached", error(), FORWARD)
    lora.merge()
    yield Check("merged", error(), FORWARD)
    lora.unmerge()
    lora.detach()
    named = from_named(to_named(updates, linear_targets(network)), linear_targets(network), record.path)
    merge_into(network, named)
    yield Check("through the named layout", error(), FORWARD)
    back = to_positional(named, targets)
    changed = sum(relative_error(back[key], value) for key, value in tensors.items())
    yield Check("named layout and back", changed, 0.0)


def _plain(key: str) -> str:
    """A key of a parametrised PyTorch module -> that of the weight: x.parametrizations.weight.0 is x.weight."""
    return key.replace(".parametrizations.", ".").removesuffix(".0")
