"""Checks of single networks: forward passes and gradients."""

import paddle

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
