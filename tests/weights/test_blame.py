"""NaN and infinity never become pixels: each network in turn is spoilt, and the file to blame is named."""

import numpy as np
import paddle
import pytest
from spoiled import spoil, spoiled_release

from ldm.conditions import encode_captions
from ldm.generation.request import GenerationSettings
from ldm.generation.sampling import to_uint8
from ldm.images import save_png
from ldm.networks.layers.linear import linear
from ldm.pipeline import StableCascade
from ldm.weights.blame import blame_network, check_finite
from ldm.weights.files import TensorFile, state_entries, write_tensors

QUICK = GenerationSettings(256, 256, steps=1, decoder_steps=1)
SPOILT = [
    ("stage_a.safetensors", "out_block.0.bias", "Stage A: the decoded image"),
    ("stage_b_lite.safetensors", "clf.1.bias", "Stage B, step 1 of 1: the latent"),
    ("stage_c_lite.safetensors", "clf.1.bias", "Stage C, step 1 of 1: the latent"),
    ("text_encoder/model.safetensors", "text_projection.weight", "Text encoder: the captions' embedding"),
]


@pytest.fixture(scope="module")
def cascade(rule_release):
    return StableCascade(rule_release)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("name, key, where", SPOILT)
def test_the_file_that_is_damaged_is_named(rule_release, tmp_path, name, key, where, low_memory, value):
    release = spoiled_release(rule_release, tmp_path / "release", name, key, value)
    with pytest.raises(FloatingPointError) as caught:
        StableCascade(release, low_memory=low_memory)("x", 1, QUICK, progress=False)
    assert str(caught.value) == (
        f"{where} is not finite (NaN or infinity). {release / name}: {key} is not finite: download or convert it again."
    )


def test_numbers_too_large_to_compute_with_are_told_from_damaged_ones(rule_release, tmp_path):
    name, key = "stage_a.safetensors", "up_blocks.0.0.weight"
    release = spoiled_release(rule_release, tmp_path / "release", name, key, 1e38, every=True)
    with pytest.raises(
        FloatingPointError, match=r"Stage A: .* are finite, but too large to compute with in float32"
    ) as e:
        StableCascade(release)("x", 1, QUICK, progress=False)
    assert f"(the largest, 1e+38, is in {key})" in str(e.value) and str(release / name) in str(e.value)


def test_a_lora_is_blamed_and_not_the_prior(rule_release, tmp_path):
    from test_pipeline import write_lora_of

    cascade = StableCascade(rule_release)
    path = write_lora_of(cascade, tmp_path / "lora.safetensors")
    with TensorFile(path) as file:
        key = next(iter(file.keys()))
    spoil(path, key, np.nan)
    with pytest.raises(ValueError, match=f"{path}: {key} holds NaN"):
        cascade.load_lora(path)
    assert not cascade.loras and cascade("x", 1, QUICK, progress=False).any()


def test_a_lora_too_large_to_compute_with_is_named(rule_release, tmp_path):
    from test_pipeline import write_lora_of

    cascade = StableCascade(rule_release)
    path = write_lora_of(cascade, tmp_path / "lora.safetensors")
    with TensorFile(path) as file:
        keys = [key for key in file.keys() if "lora_" in key]
    for key in keys:
        spoil(path, key, 1e15, every=True)
    cascade.load_lora(path)
    with pytest.raises(FloatingPointError, match=f"with {path} added are finite, .*use a smaller --lora_scale"):
        cascade("x", 1, QUICK, progress=False)
    cascade.unload_loras()
    for key in keys:
        spoil(path, key, 1e30, every=True)
    with pytest.raises(ValueError, match=f"{path}: The LoRA makes .* larger than float32 can hold"):
        cascade.load_lora(path)


def test_the_previewer_is_blamed_for_previews(rule_release, tmp_path):
    name = "previewer.safetensors"
    release = spoiled_release(rule_release, tmp_path / "release", name, "blocks.24.bias", np.nan)
    prior = StableCascade(release).prior
    with pytest.raises(
        FloatingPointError, match=f"Previewer: the preview is not finite .*{release / name}: blocks.24.b"
    ):
        prior.log_image("x", 256, 256, steps=1, progress=False)
    with pytest.raises(FloatingPointError, match="The latent to be previewed is not finite"):
        prior.preview(paddle.full([1, 16, 6, 6], np.nan))


def test_a_changed_network_is_told_from_its_file(tmp_path):
    network, path = linear(3, 4), tmp_path / "file.safetensors"
    write_tensors(path, state_entries(network.state_dict(), "float32"), {})
    assert "All weights" in blame_network(network, [path])
    network.weight.set_value(network.weight * np.inf)
    assert "weight is not finite in memory and finite in" in blame_network(network, [path])
    assert "too large a number for float16: use --dtype bfloat16" in blame_network(network, [path], dtype="float16")
    network.weight.set_value(paddle.ones([3, 4]))
    assert blame_network(network, [path], dtype="float16").endswith("use --dtype float32 or bfloat16.")
    spoil(path, "bias", np.nan)
    assert blame_network(None, [path]) == f"{path}: bias is not finite: download or convert it again."
    network.bias._clear_data()  # given up to a compiled program: the file is asked
    assert blame_network(network, [path]) == f"{path}: bias is not finite: download or convert it again."


# Pixels ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_bytes_are_never_made_of_nan(value):
    images = paddle.zeros([2, 3, 4, 4])
    assert to_uint8(images).max() == 0  # a black image of finite numbers is an image
    images[1, 2, 3, 0] = value
    with pytest.raises(FloatingPointError, match="A decoded image is not finite"):
        to_uint8(images)
    with pytest.raises(FloatingPointError, match="it is not finite .NaN or infinity.. because"):
        check_finite(images, "it", lambda: "because")


@pytest.mark.parametrize("pixels", [np.zeros([4, 4, 3]), np.zeros([4, 4], np.uint8), np.full([4, 4, 3], np.nan)])
def test_a_png_is_made_of_bytes(tmp_path, pixels):
    with pytest.raises(ValueError, match="pixels must be uint8"):
        save_png(tmp_path / "a.png", pixels, {})
    assert not list(tmp_path.iterdir())


# Called from notebooks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"height": 200}, "height 200 is below the minimum"),
        ({"width": 10**9}, "width 1000000000 is above the maximum"),
        ({"height": 256.5}, "height must be a whole number of pixels"),
        ({"height": None}, "height must be a whole number of pixels"),
        ({"cfg": float("nan")}, "cfg must be a finite number"),
        ({"cfg": (4.0, float("inf"))}, "cfg must be a finite number"),
        ({"cfg": (1.0, 2.0, 3.0)}, "cfg must be a number or"),
        ({"cfg": "4"}, "cfg must be a finite number"),
        ({"cfg": 1e30}, "cfg must be at most 1000"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"steps": 2.5}, "steps must be an integer"),
        ({"steps": 10**9}, "steps must be at most 10000"),
        ({"seed": -1}, "seed must not be negative"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"seed": 2**63}, "seed must be at most"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 10**9}, "batch_size must be at most"),
        ({"batch_size": True}, "batch_size must be an integer"),
    ],
    ids=str,
)
def test_settings_and_stages_refuse_the_same(cascade, changes, message):
    batch = changes.get("batch_size", 1)
    with pytest.raises(ValueError, match=message):
        GenerationSettings(**{key: value for key, value in changes.items() if key != "batch_size"}).check(batch)
    with pytest.raises(ValueError, match=message):
        cascade.prior.log_image("x", **{"height": 256, "width": 256, "steps": 1, "progress": False, **changes})
    decoder = {"height": 256, "width": 256, "steps": 1, "progress": False, **changes}
    if "batch_size" not in changes and changes.get("height", 0) is not None:
        with pytest.raises(ValueError, match=message):
            cascade.decoder.log_image(paddle.zeros([1, 16, 6, 6]), "x", **decoder)


def test_a_decoder_refuses_what_is_no_latent(cascade):
    decode = cascade.decoder.log_image
    with pytest.raises(FloatingPointError, match="The prior's latent that the decoder was given is not finite"):
        decode(paddle.full([1, 16, 6, 6], np.nan), "x", 256, 256, steps=1)
    for shape in ([1, 4, 6, 6], [16, 6, 6], [0, 16, 6, 6]):
        with pytest.raises(ValueError, match=r"this decoder takes \(B, 16, h, w\)"):
            decode(paddle.zeros(shape), "x", 256, 256, steps=1)
    with pytest.raises(ValueError, match="height 0 is below the minimum"):
        decode(paddle.zeros([1, 16, 6, 6]), "x", height=0, steps=1)
    with pytest.raises(ValueError, match="2 captions, 1 seeds, 1 latents"):
        decode(paddle.zeros([1, 16, 6, 6]), encode_captions(cascade.frozen, ["a", "b"]), 256, 256, steps=1)
    with pytest.raises(FloatingPointError, match="Text encoder"):
        encoded = encode_captions(cascade.frozen, ["a"])
        encoded.pooled[0, 0, 0] = np.nan
        decode(paddle.zeros([1, 16, 6, 6]), encoded, 256, 256, steps=1)
