"""Checks of single networks: forward passes and gradients, CLIP's towers, and a LoRA in the prior."""

import paddle

from ldm.adapters.files import merge_into
from ldm.adapters.layouts import from_named, from_positional, to_named, to_positional
from ldm.adapters.lora import LoRA, find_targets, linear_targets
from ldm.clip.folder import load_image_tower, load_text_tower
from ldm.networks.efficientnet import EfficientNetEncoder
from ldm.networks.previewer import Previewer
from ldm.networks.stage_a import StageA
from ldm.networks.stage_b import StageB
from ldm.networks.stage_c import StageC
from ldm.networks.variants import variant_config
from ldm.parity.record import Check, Record, relative_error
from ldm.weights.plan import release_key_of
from ldm.weights.rules import RULES

FORWARD, GRADIENT, FULL_SIZE = 1e-5, 1e-4, 1e-4
FULL_SIZE_VERSIONS = {"c1": "1B", "c36": "3.6B", "b07": "700M", "b15": "3B"}


def _control(record: Record) -> list:
    """The recorded ControlNet residuals as the list the network takes."""
    indices = [int(i) for i in record.under("in.cnet.")]
    return [record.tensor(f"in.cnet.{i}") if i in indices else None for i in range(max(indices) + 1)]


def _predictions(record: Record, network, required, bound):
    """Every `out.pred*`: the words after "pred" name the optional inputs it was recorded with."""
    inputs = {name: record.tensor(f"in.{name}") for name in required}
    for case in [key for key in record.under("out.") if key.startswith("pred")]:
        optional = case.split("_")[1:]
        extra = {name: _control(record) if name == "cnet" else record.tensor(f"in.{name}") for name in optional}
        with paddle.no_grad():
            yield Check(case, relative_error(network(**inputs, **extra), record.array(f"out.{case}")), bound)


def _gradients(record: Record, network, required):
    """Loss and every gradient, the worst of which is reported by its key."""
    inputs = {name: record.tensor(f"in.{name}") for name in required}
    inputs["x"].stop_gradient = False
    squared = (network(**inputs) - record.tensor("in.target")) ** 2
    loss = squared.mean(axis=[1, 2, 3]).mean()
    loss.backward()
    yield Check("loss", relative_error(loss, record.array("out.loss")), FORWARD)
    yield Check("gradient of x", relative_error(inputs["x"].grad, record.array("grad_in.x")), GRADIENT)
    errors, recorded = {}, set(record.under("grad."))
    for key, parameter in network.named_parameters():
        release_key, rule = release_key_of(RULES["stage_c"], key)
        ours = rule.layout.to_release(parameter.grad)
        errors[release_key] = (
            relative_error(ours, record.array(f"grad.{release_key}")) if release_key in recorded else float("inf")
        )
    errors |= {key: float("inf") for key in recorded - set(errors)}
    worst = max(errors, key=errors.get)
    yield Check(f"{len(errors)} gradients, worst {worst}", errors[worst], GRADIENT)


STAGE_C_INPUTS = ("x", "r", "clip_text", "clip_text_pooled", "clip_img")
STAGE_B_INPUTS = ("x", "r", "effnet", "clip")


def check_stage_c(record: Record):
    network = record.build(StageC, "stage_c")
    yield from _predictions(record, network, STAGE_C_INPUTS, FORWARD)
    if record.has("out.loss"):
        yield from _gradients(record, network, STAGE_C_INPUTS)


def check_stage_b(record: Record):
    yield from _predictions(record, record.build(StageB, "stage_b"), STAGE_B_INPUTS, FORWARD)


@paddle.no_grad()
def check_stage_a(record: Record):
    network = record.build(StageA, "stage_a")
    yield Check(
        "encode", relative_error(network.encode(record.tensor("in.image")), record.array("out.latent")), FORWARD
    )
    yield Check(
        "decode", relative_error(network.decode(record.tensor("out.latent")), record.array("out.decoded")), FORWARD
    )


@paddle.no_grad()
def check_effnet(record: Record):
    ours = record.build(EfficientNetEncoder, "effnet").encode(record.tensor("in.image_0_1"))
    yield Check("encode", relative_error(ours, record.array("out.latent")), FORWARD)


@paddle.no_grad()
def check_previewer(record: Record):
    ours = record.build(Previewer, "previewer")(record.tensor("in.latent"))
    yield Check("preview", relative_error(ours, record.array("out.image")), FORWARD)


def check_full_size(record: Record):
    """One forward of a full-size network; the file's name says which, its config what differs from that."""
    size = record.name.removeprefix("full_").split("_")[0]
    if size not in FULL_SIZE_VERSIONS:
        raise ValueError(f"{record.path}: unknown size {size!r}, known: {sorted(FULL_SIZE_VERSIONS)}.")
    cls, kind, inputs = (StageC, "stage_c", STAGE_C_INPUTS) if size[0] == "c" else (StageB, "stage_b", STAGE_B_INPUTS)
    network = record.build(cls, kind, **variant_config(kind, FULL_SIZE_VERSIONS[size]))
    yield from _predictions(record, network, inputs, FULL_SIZE)


def tower_folder(record: Record):
    """The tower a file was recorded from: clip_text_io.safetensors -> clip_text_tiny/ beside it."""
    return record.path.with_name(f"{record.name.removesuffix('_io')}_tiny")


@paddle.no_grad()
def check_clip_text(record: Record):
    tower = load_text_tower(tower_folder(record))
    ids, mask = record.tensor("in.input_ids"), record.tensor("in.attention_mask")
    out = tower(input_ids=ids, attention_mask=mask, output_hidden_states=True, return_dict=True)
    ours = {"hidden_states_last": out.hidden_states[-1], "text_embeds": out.text_embeds}
    for case, value in ours.items():
        yield Check(case, relative_error(value, record.array(f"out.{case}")), FORWARD)


@paddle.no_grad()
def check_clip_vision(record: Record):
    tower = load_image_tower(tower_folder(record))
    out = tower(pixel_values=record.tensor("in.pixel_values"), return_dict=True)
    yield Check("image_embeds", relative_error(out.image_embeds, record.array("out.image_embeds")), FORWARD)


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
