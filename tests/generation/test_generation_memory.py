"""The forecast of a generation's memory against what Paddle's allocator counts, and what follows from it."""

import json
import subprocess
import sys
from dataclasses import replace

import paddle
import pytest
from helpers import ROOT

from ldm.common.memory import allocated, peak_allocated, reset_peak
from ldm.generation.memory import NotEnoughMemory, check_loading, check_room, networks_of
from ldm.generation.request import GenerationSettings
from ldm.generation.work import Sizes, decoder_work, prior_work, stage_a_work
from ldm.networks.stage_a import StageA
from ldm.pipeline import StableCascade

DEMO = ROOT / "assets" / "demo"


@pytest.fixture(scope="module")
def cascade():
    return StableCascade(DEMO)


@pytest.fixture(scope="module")
def networks():
    return networks_of(DEMO)


def peak_of(work) -> int:
    """Bytes of tensors that calling `work` a second time has at most beside those that are there before."""
    work()
    reset_peak()
    before = allocated()
    work()
    return peak_allocated() - before


@pytest.mark.parametrize("height, width, batch", [(256, 256, 1), (256, 384, 2)])
def test_tensors_of_each_network_at_work(cascade, networks, height, width, batch):
    sizes = Sizes(height, width, batch)
    captions, seeds = ["a red circle"] * batch, list(range(batch))
    latent = cascade.prior.sample(captions, height, width, seeds=seeds, steps=1, progress=False)

    def prior():
        cascade.prior.sample(captions, height, width, seeds=seeds, steps=2, progress=False)

    def decoder():
        return cascade.decoder.sample(latent, captions, height, width, seeds=seeds, steps=2, progress=False)

    finest = decoder()
    for work, forecast in (
        (prior, prior_work(networks.prior, sizes)),
        (decoder, decoder_work(networks.decoder, sizes)),
        (lambda: cascade.decoder.decode(finest), stage_a_work(networks.stage_a, sizes)),
    ):
        assert 0.9 < forecast / peak_of(work) < 1.25  # small tensors beside the large ones are not counted


@pytest.mark.parametrize(
    "batch, side, channels, levels", [(1, 64, 384, 2), (2, 32, 384, 2), (4, 96, 64, 2), (1, 64, 64, 3)]
)
def test_tensors_of_stage_a_of_other_sizes(batch, side, channels, levels):
    arguments = {"c_hidden": channels, "levels": levels}
    network = StageA(**arguments, bottleneck_blocks=1, codebook_size=16)
    latent = paddle.randn([batch, 4, side, side])
    with paddle.no_grad():
        measured = peak_of(lambda: network.decode(latent))
    factor = 2**levels // 4  # its images are 2^levels as large as the latent, and a forecast is of an image's size
    sizes = Sizes(4 * side * factor, 4 * side * factor, batch)
    assert 0.9 < stage_a_work(arguments, sizes) / measured < 1.2


def test_more_takes_more(networks):
    base = Sizes(512, 512, 2)
    peak = networks.forecast(base).peak
    for more in (replace(base, height=768), replace(base, width=768), replace(base, batch=4), replace(base, images=64)):
        assert networks.forecast(more).peak > peak
    assert networks.forecast(replace(base, guided=(False, False))).peak < peak
    assert networks.forecast(base, compiled=True).peak > peak > networks.forecast(base, low_memory=True).peak
    gpu = networks.forecast(base, on_cpu=False)
    assert gpu.least == sum(networks.weights("float32").values()) < gpu.peak and networks.forecast(base).least == peak
    absurd = networks.forecast(Sizes(16384, 16384, 100_000, captions=10**6, images=10**11))
    assert absurd.peak > 2**50  # Python's integers: no size overflows


def test_refusals_have_numbers_and_remedies_that_help(networks):
    sizes = Sizes.of(GenerationSettings(768, 768).request([""], 8))
    full, single = (networks.forecast(s).peak for s in (sizes, replace(sizes, batch=1)))
    assert check_room(networks, sizes, full).peak == full
    with pytest.raises(NotEnoughMemory) as caught:
        check_room(networks, sizes, single)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("A batch of 8 at 768 x 768 pixels needs ") and "decoder at work" in text
    assert "--batch_size 1 (" in text and "--batch_size 4" not in text
    with pytest.raises(NotEnoughMemory, match="this machine has too little memory for these weights"):
        check_room(networks, sizes, 1000)


def test_weights_alone_are_checked_before_they_are_loaded(monkeypatch):
    numbers = {"prior": 2**30, "decoder": 2**29}
    check_loading(numbers, "float32", False, 6 * 2**30)
    check_loading(numbers, "float32", True, 4 * 2**30)
    with pytest.raises(
        NotEnoughMemory, match=r"need 6.00 GiB \(prior 4.00 \+ decoder 2.00\), and 5.00 GiB are free: use low"
    ):
        check_loading(numbers, "float32", False, 5 * 2**30)
    with pytest.raises(NotEnoughMemory, match="too little memory"):
        check_loading(numbers, "float32", True, 2**30)
    monkeypatch.setattr("ldm.pipeline.available", lambda: 2**20)
    with pytest.raises(NotEnoughMemory, match="The weights need 0.03 GiB"):
        StableCascade(DEMO)


def test_a_notebook_is_refused_what_is_not_free_and_given_again_what_went_well(monkeypatch):
    cascade, quick = StableCascade(DEMO), GenerationSettings(256, 256, steps=1, decoder_steps=1)
    assert cascade("a red circle", 1, quick, progress=False).shape == (1, 256, 256, 3)
    monkeypatch.setattr("ldm.pipeline.available", lambda: 2**20)
    cascade("a red circle", 1, quick, progress=False)  # its memory is there already
    with pytest.raises(NotEnoughMemory, match="A batch of 64 at 256 x 256 pixels"):
        cascade("a red circle", 64, quick, progress=False)


@pytest.mark.slow
def test_the_peak_of_a_process(tmp_path):
    """Within 15 %, and not below by more than 10 %: about 25 s."""
    sizes = ["256x256x1", "512x512x2", "384x384x4:low_memory"]
    for size in sizes:
        command = [sys.executable, str(ROOT / "benchmarks" / "generation_memory.py"), "--one", "--sizes", size]
        lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
        found = json.loads(lines[-1])
        assert 0.9 < found["forecast"] / found["measured"] < 1.15, (size, found)
