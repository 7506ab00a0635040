"""Recordings that this repository did not ship: made here with torch, or with the rule's weights under another salt."""

import json

import numpy as np
import paddle
import pytest
from helpers import REFERENCE
from safetensors.numpy import save_file

from ldm.parity.record import Check, Record, relative_error
from ldm.parity.suite import check_file

torch = pytest.importorskip("torch")


def verdicts(path):
    return [row.verdict for row in check_file(path)]


def torch_previewer(c):
    """The release's previewer, written out with torch's layers."""
    n = torch.nn

    def step(layer):
        return [layer, n.GELU(), n.BatchNorm2d(layer.out_channels)]

    def double(c_in, c_out):
        return step(n.ConvTranspose2d(c_in, c_out, 2, stride=2)) + step(n.Conv2d(c_out, c_out, 3, padding=1))

    blocks = step(n.Conv2d(16, c, 1)) + step(n.Conv2d(c, c, 3, padding=1))
    blocks += double(c, c // 2) + double(c // 2, c // 4) + double(c // 4, c // 4) + [n.Conv2d(c // 4, 3, 1)]
    return n.ModuleDict({"blocks": n.Sequential(*blocks)})


@pytest.mark.parametrize("channels, size", [(32, (5, 7)), (64, (3, 3))])
def test_previewer_of_another_width(tmp_path, channels, size):
    torch.manual_seed(channels)
    network = torch_previewer(channels)
    latent = torch.randn(2, 16, *size)
    with torch.no_grad():
        network["blocks"](latent)  # in training mode: gives the statistics values other than 0 and 1
        network.eval()
        image = network["blocks"](latent)
    tensors = {f"weights.{key}": value.numpy() for key, value in network.state_dict().items()}
    tensors |= {"in.latent": latent.numpy(), "out.image": image.numpy()}
    path = tmp_path / "previewer_of_another_width.safetensors"
    save_file(tensors, path, metadata={"config": json.dumps({"c_hidden": channels})})
    assert verdicts(path) == ["ok"]


@paddle.no_grad()
def test_rule_and_stored_weights_are_the_same_network(tmp_path):
    """The file's config may say "rule" with any salt, or the weights may be stored: both are built alike."""
    from ldm.networks.stage_b import StageB
    from ldm.weights.synthetic import rule_tensor

    stored = Record(REFERENCE / "stage_b_tiny.safetensors")
    inputs = {key: stored.array(key) for key in stored.keys if key.startswith("in.")}
    config = {**stored.config, "weights": "rule", "salt": "another"}
    weights = {
        f"weights.{key}": rule_tensor(key, stored.file.shapes[f"weights.{key}"], "another")
        for key in stored.under("weights.")
    }
    names = ("x", "r", "effnet", "clip")

    by_rule = tmp_path / "stage_b_rule.safetensors"
    save_file(inputs, by_rule, metadata={"config": json.dumps(config)})
    prediction = Record(by_rule).build(StageB, "stage_b")(
        **{name: paddle.to_tensor(inputs[f"in.{name}"]) for name in names}
    )
    assert relative_error(prediction, stored.array("out.pred")) > 0.1

    plain = {key: value for key, value in stored.config.items() if key not in ("weights", "salt")}
    outputs = {"out.pred": prediction.numpy()}
    save_file({**inputs, **outputs}, by_rule, metadata={"config": json.dumps(config)})
    by_store = tmp_path / "stage_b_stored.safetensors"
    arrays = {key: np.ascontiguousarray(value) for key, value in {**inputs, **outputs, **weights}.items()}
    save_file(arrays, by_store, metadata={"config": json.dumps(plain)})
    assert verdicts(by_rule) == verdicts(by_store) == ["ok"]

    both = tmp_path / "stage_b_both.safetensors"
    save_file(arrays, both, metadata={"config": json.dumps(config)})
    assert verdicts(both) == ["ERROR"]


def test_relative_error():
    assert relative_error([3.0, 4.0], [3.0, 4.0]) == 0 and relative_error([3.0, 5.0], [3.0, 4.0]) == pytest.approx(0.2)
    assert relative_error([1.0], [1.0, 1.0]) == float("inf")  # never by broadcasting
    assert relative_error([0.5], [0.0]) == 0.5  # a reference of zeros: the absolute error
    for error, passed in ((1e-5, True), (1.1e-5, False), (float("nan"), False), (float("inf"), False)):
        assert Check("case", error, 1e-5).passed is passed
