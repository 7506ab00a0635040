"""The switch between formulas and faster ways: what it reaches, and that whole networks compute the same both ways."""

import numpy as np
import paddle
import pytest
from helpers import distance, run_python
from tiny_networks import inputs_b, inputs_c, stage_b, stage_c

from ldm.networks.layers.fast.switch import WAYS, plain_formulas, switched_off
from ldm.networks.stage_a import StageA

CASES = {
    "prior": lambda: (network := stage_c(), inputs_c(network)),
    "decoder": lambda: (network := stage_b(), inputs_b(network)),
}


def autoencoder():
    """One whose scalars are not the zeros of a new one."""
    network = StageA(c_hidden=8, bottleneck_blocks=1, codebook_size=16)
    for name, parameter in network.named_parameters():
        if name.endswith("gammas"):
            parameter.set_value(paddle.randn([6]))
    network.eval()
    return network


def gradients(network, output):
    """Copies of all the gradients of a sum of the output's numbers, weighted by their places."""
    (output * paddle.arange(output.size, dtype="float32").reshape(output.shape).cos()).sum().backward()
    found = {name: p.grad.numpy().copy() for name, p in network.named_parameters() if p.grad is not None}
    network.clear_gradients()
    return found


def check_both_ways(network, compute):
    """Outputs and gradients of compute() with the faster ways and without them."""
    fast = compute()
    found = gradients(network, fast)
    with plain_formulas():
        plain = compute()
        wanted = gradients(network, plain)
    assert distance(fast, plain) < 2e-6 and found.keys() == wanted.keys() and len(found) > 10
    largest = max(np.abs(gradient).max() for gradient in wanted.values())
    for name, gradient in wanted.items():
        # Last digits that differ in a layer grow on their way through the others: 1e-5 was seen
        assert np.abs(found[name] - gradient).max() < 5e-5 * max(np.abs(gradient).max(), 1e-2 * largest), name


@pytest.mark.parametrize("case", CASES)
def test_a_unet_and_its_gradients_are_the_same_both_ways(case):
    network, inputs = CASES[case]()
    check_both_ways(network, lambda: network(**inputs))
    (x, r), conditions = (inputs.pop("x"), inputs.pop("r")), inputs
    with paddle.no_grad():
        fast = network.bound(x.shape[2:], **conditions)(x, r)
        with plain_formulas():
            assert distance(network.bound(x.shape[2:], **conditions)(x, r), fast) < 2e-6


def test_the_autoencoder_and_its_gradients_are_the_same_both_ways():
    network = autoencoder()
    image, latent = paddle.rand([2, 3, 16, 24]), paddle.randn([2, 4, 4, 6])
    check_both_ways(network, lambda: network.encode(image))
    check_both_ways(network, lambda: network.decode(latent))


def test_all_ways_are_taken_and_with_the_switch_none(monkeypatch):
    taken = set()
    for name, way in WAYS.items():
        monkeypatch.setitem(
            WAYS, name, lambda *given, name=name, way=way, **more: taken.add(name) or way(*given, **more)
        )
    network, inputs = CASES["prior"]()
    conditions = {name: value for name, value in inputs.items() if name not in ("x", "r")}

    def compute():
        autoencoder().decode(paddle.randn([1, 4, 2, 2]))
        with paddle.no_grad():
            network.bound(inputs["x"].shape[2:], **conditions)(inputs["x"], inputs["r"])

    with plain_formulas():
        compute()
    assert taken == set() and switched_off() == []
    with plain_formulas("linear_by_addmm", "fused_attention"):
        assert switched_off() == ["fused_attention", "linear_by_addmm"]
        compute()
    assert taken == set(WAYS) - {"linear_by_addmm", "fused_attention"}
    compute()
    assert taken == set(WAYS)


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match="No faster way is called gelu_gradiant: there are .*gelu_gradient"):
        with plain_formulas("gelu_gradiant"):
            pass


@pytest.mark.parametrize("value, off", [("1", True), ("0", False), ("", False)])
def test_the_environment_switches_a_process(monkeypatch, value, off):
    monkeypatch.setenv("CASCADE_PLAIN_FORMULAS", value)
    code = "from ldm.networks.layers.fast.switch import WAYS, switched_off; import ldm.networks.variants, ldm.networks.stage_a"
    assert run_python(f"{code}; print(switched_off() == sorted(WAYS), len(WAYS))") == f"{off} {len(WAYS)}\n"
